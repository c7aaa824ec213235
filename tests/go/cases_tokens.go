package main

// Tokens that expire while the client works: it refreshes them and goes on.

import (
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var tokensCases = []testCase{
	{"a unary call refreshes", func(p *place) {
		sandbox := p.sandbox(p.token(-5*time.Minute, p.taskID), p.token(time.Hour, p.taskID))
		process := sandbox.exec(nil, "echo", "hi")
		equal(sandbox.control.fetched.Load(), 2)
		equal(all(process.Stdout), "hi\n")
		equal(wait(process), 0)
	}},
	{"a stream refreshes", func(p *place) {
		// For 30 s after its end the agent still takes it: a second or two are left.
		short := p.token(-28*time.Second, p.taskID)
		sandbox := p.sandbox(short, p.token(time.Hour, p.taskID))
		process := sandbox.exec(nil, "echo", "hi")
		equal(sandbox.control.fetched.Load(), 1)
		// The client does not ask whether its token is still good: it goes by what the agent answers.
		untilRefused(p, short)
		equal(all(process.Stdout), "hi\n")
		equal(sandbox.control.fetched.Load(), 2)
		equal(wait(process), 0)
	}},
	{"a token that is not renewed is an error and no loop", func(p *place) {
		sandbox := p.sandbox(p.token(-time.Hour, p.taskID))
		_, err := sandbox.Exec(background, []string{"true"}, nil)
		refuses(codes.Unauthenticated, err, "")
		equal(sandbox.control.fetched.Load(), 2)
	}},
	{"another task's token is denied", func(p *place) {
		sandbox := p.sandbox(p.token(time.Hour, "ta-other"))
		_, err := sandbox.Exec(background, []string{"true"}, nil)
		refuses(codes.PermissionDenied, err, "")
	}},
}

// untilRefused asks again until the agent takes this token no longer.
func untilRefused(p *place, token string) {
	sandbox := p.sandbox(token)
	for {
		_, err := sandbox.Exec(background, []string{"true"}, nil)
		if status.Code(err) == codes.Unauthenticated {
			return
		}
		must(err)
		time.Sleep(50 * time.Millisecond)
	}
}
