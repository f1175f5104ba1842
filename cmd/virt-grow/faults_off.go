//go:build !faults

package main

import "context"

// faults makes steps fail in tests; a program that is shipped has none.
func faults() func(ctx context.Context, point string) error { return nil }
