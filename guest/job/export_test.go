package job

// BreakJournal makes every later write to the job's journal fail.
func (j *Job) BreakJournal() error { return j.held.Log.Close() }
