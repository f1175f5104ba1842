// Package job is the engine that runs jobs: it has the journal, the locks, the steps with
// their undo, and the actions resume, accept, rollback and close. It knows no kind of job.
//
// A kind is one function that opens a job's work from its header. Only Work.Actions decides
// which actions are possible for a job: the engine, the commands that a status suggests, and
// the completion of job names use it.
//
// The states of a job:
//
//	opening ──► working ─────────────────────────────► done
//	   │           │                                     ▲
//	   │           └──────────► rolled-back              │ last step
//	   │                            ▲                    │
//	   ├──► editing ──► trial ──► waiting ──► committing ┘
//	   │       │          │          │  accept    │
//	   │       └──────────┴──────────┴────────────┴──► rolled-back
//	   └──► cancelled
//
//	every other state ──► closed                 (accept --as-is)
//
// Work without a Course only has the state working. done, rolled-back, cancelled and closed
// are final.
//
// The rules for every kind:
//
//   - One process works on a job, and one unfinished job on a disk.
//   - The header is in the journal before the first step begins, and each step has an
//     entry before and after it is done.
//   - When a job is continued, processes that an earlier run left are ended first.
//   - A failure undoes every step that was begun, in reverse order, with a context that
//     is not cancelled; unless the work does not offer Rollback any more.
//   - A journal that is damaged or of a newer version is refused, and no byte of it
//     is changed. Only Close moves a damaged one out of the way.
package job
