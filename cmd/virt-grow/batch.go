package main

// batchCommands returns the group of the commands for many guests.
func batchCommands(p *program) group {
	return group{"batch", "grow the disks of many guests in one change window",
		"An inventory lists the guests. Its plan is a file with a whole plan for each of\n   them, which people review before it is carried out.",
		[]command{batchPlanCommand{p}, batchApplyCommand{p}, batchStatusCommand{p}, batchResumeCommand{p}, batchAcceptCommand{p}, batchRollbackCommand{p}}}
}
