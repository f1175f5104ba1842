// Package guest is the registry of the kinds of job: it opens, goes on with, takes back and
// closes the jobs of the packages below it by their names.
package guest
