package job

// BreakJournal has every write to the job's journal fail.
func (j *Job) BreakJournal() error { return j.held.Log.Close() }
