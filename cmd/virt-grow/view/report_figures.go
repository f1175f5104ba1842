package view

import "github.com/virt-grow/virt-grow/guest/record"

// outageFigure compares the estimated outage with the measured one.
type outageFigure struct{}

func newOutageFigure(r *record.Record) *outageFigure { return &outageFigure{} }

// stepBar has the two bars of a step, in percent of the width.
type stepBar struct{}

func stepBars(steps []record.TimedStep) []stepBar { return nil }
