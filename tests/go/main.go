// Runs one subject's cases with the public client against a running agent.
//
// Usage: cases SUBJECT HOST:PORT TASK_ID SECRET_FILE
//
// Each case runs by itself; the exit code is 1 if one failed.
package main

import (
	"bytes"
	"fmt"
	"os"
	"runtime/debug"
	"time"
)

const caseTimeMax = 120 * time.Second

type testCase struct {
	name string
	run  func(*place)
}

var subjects = map[string][]testCase{
	"sandbox":    sandboxCases,
	"files":      filesCases,
	"tokens":     tokensCases,
	"cuts":       cutsCases,
	"entrypoint": entrypointCases,
	"images":     imagesCases,
}

func main() {
	subject, hostAndPort, taskID, secretFile := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	secret, err := os.ReadFile(secretFile)
	must(err)
	cases := subjects[subject]
	failed := 0
	for _, one := range cases {
		begun := time.Now()
		err := attempt(one, &place{hostAndPort, taskID, bytes.TrimRight(secret, "\n")})
		word := "ok"
		if err != nil {
			failed++
			fmt.Println(err)
			word = "FAILED"
		}
		fmt.Printf("%s %s: %s (%.1f s)\n", subject, one.name, word, time.Since(begun).Seconds())
	}
	fmt.Printf("%d passed, %d failed\n", len(cases)-failed, failed)
	if failed > 0 || len(cases) == 0 {
		os.Exit(1)
	}
}

// attempt runs a case and returns what it failed with.
func attempt(one testCase, where *place) (failure error) {
	// Where it hangs is shown by the stacks of all that runs.
	debug.SetTraceback("all")
	late := time.AfterFunc(caseTimeMax, func() { panic(one.name + " takes too long") })
	defer late.Stop()
	defer func() {
		if said := recover(); said != nil {
			failure = fmt.Errorf("%v\n%s", said, debug.Stack())
		}
	}()
	one.run(where)
	return nil
}
