package session

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/virt-grow/virt-grow/guest/appliance"
	"github.com/virt-grow/virt-grow/plan"
)

// WriteFiles replaces the content of files in the guest: of the files of one file system in
// one go, because it is checked before and after.
func (e *editor) WriteFiles(ctx context.Context, edits []plan.FileEdit) (err error) {
	tree, err := e.OpenTree(ctx, "")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "virt-grow-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var places []appliance.Place
	changes := map[string][]appliance.Change{}
	texts := map[appliance.Change]string{}
	for _, edit := range edits {
		place, change, err := located(ctx, tree, edit)
		if err != nil {
			return err
		}
		texts[change] = filepath.Join(dir, change.Is)
		if err := os.WriteFile(texts[change], edit.After, 0o600); err != nil {
			return err
		}
		if changes[place.Mountable] == nil {
			places = append(places, place)
		}
		changes[place.Mountable] = append(changes[place.Mountable], change)
	}
	if err := tree.Close(ctx); err != nil {
		return err
	}
	for _, place := range places {
		content := func(c appliance.Change) string { return texts[c] }
		if err := e.Write(ctx, place, changes[place.Mountable], content); err != nil {
			return err
		}
	}
	return nil
}

// located finds the file of an edit, and refuses it if its content has changed.
func located(ctx context.Context, tree *appliance.Tree, edit plan.FileEdit) (appliance.Place, appliance.Change, error) {
	place, _, err := tree.Locate(ctx, edit.Path)
	if err != nil {
		return place, appliance.Change{}, err
	}
	var now bytes.Buffer
	if err := tree.Read(ctx, edit.Path, &now); err != nil {
		return place, appliance.Change{}, err
	}
	if !bytes.Equal(now.Bytes(), edit.Before) {
		return place, appliance.Change{}, plan.Refuse(plan.StalePlan, edit.Path, "%s in the guest has changed since the plan was made", edit.Path)
	}
	return place, appliance.Change{Path: place.Path, Was: appliance.Sum(edit.Before), Is: appliance.Sum(edit.After)}, nil
}
