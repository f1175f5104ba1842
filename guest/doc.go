// Package guest is the registry of the kinds of job: it resumes, accepts, rolls back and closes
// the jobs of the packages below it by their IDs.
package guest
