// Package job is the engine that runs jobs: it keeps the journal, the locks, the steps
// with their undo, and the verbs resume, accept, rollback and close. It knows no kind
// of job.
//
// A kind is one function that opens a job's work from its header. What a job may do
// next is asked of its work in one place, Work.Actions: the verbs of the engine, the
// commands that a status suggests, and the completion of job names all go by it.
//
// The state of a job, and what leads from one to the next:
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
//	every state that is no end ──► closed        (accept --as-is)
//
// Work without a Course goes through working alone. done, rolled-back, cancelled and
// closed are ends.
//
// The rules that every kind can rely on:
//
//   - One process works on a job, and one unfinished job on a disk.
//   - The header is in the journal before the first step begins, and each step is
//     there before it is done and after.
//   - When a job is taken up again, what a dead process of it left running is ended
//     before anything else is done.
//   - A failure undoes, last first, every step that was begun, on a context that is not
//     cancelled; unless the work does not offer Rollback any more.
//   - A journal that is damaged or of a newer version is refused, and no byte of it
//     is changed. Only Close moves a damaged one out of the way.
package job
