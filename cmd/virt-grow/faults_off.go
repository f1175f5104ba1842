//go:build !faults

package main

import "context"

// faults injects faults in tests only.
func faults() func(ctx context.Context, point string) error { return nil }
