// SPDX-License-Identifier: MIT
//
// go_micro.go: the peer of coil_micro.c in Go, on one processor: go_micro MODE N
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

func cpuNs() int64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

func yields(n, tasks int) {
	var wg sync.WaitGroup
	wg.Add(tasks)
	for i := 0; i < tasks; i++ {
		go func() {
			for k := 0; k < n/tasks; k++ {
				runtime.Gosched()
			}
			wg.Done()
		}()
	}
	wg.Wait()
}

func spawn(n, batch int) {
	for i := 0; i < n; i += batch {
		var wg sync.WaitGroup
		wg.Add(batch)
		for k := 0; k < batch; k++ {
			go wg.Done()
		}
		wg.Wait()
	}
}

func main() {
	runtime.GOMAXPROCS(1)
	n, err := strconv.Atoi(os.Args[2])
	if err != nil || n < 1000 {
		os.Exit(2)
	}
	before := cpuNs()
	switch os.Args[1] {
	case "switch2":
		yields(n, 2)
	case "switch1000":
		yields(n, 1000)
	case "spawn":
		spawn(n, 1)
	case "spawn_batch":
		spawn(n, 1000)
	default:
		os.Exit(2)
	}
	fmt.Printf("%.2f\n", float64(cpuNs()-before)/float64(n))
}
