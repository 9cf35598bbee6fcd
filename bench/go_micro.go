// SPDX-License-Identifier: MIT
//
// go_micro.go: the peer of coil_micro.c in Go, on one processor: go_micro MODE N
package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func cpuNs() int64 {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}

// What is measured: all of a mode, or from its last start to its stop.
var cpu, spent int64
var wall time.Time
var took time.Duration

func start() {
	spent, wall, cpu = 0, time.Now(), cpuNs()
}

func stop() {
	if spent == 0 {
		spent, took = cpuNs()-cpu, time.Since(wall)
	}
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

func queue(n, room int) {
	items := make(chan int, room)
	go func() {
		for i := 0; i < n; i++ {
			items <- i
		}
	}()
	for i := 0; i < n; i++ {
		<-items
	}
}

// A mutex is not handed over by itself: whoever lets it go lets the other run.
func lock(n int) {
	var mutex sync.Mutex
	var wg sync.WaitGroup
	wg.Add(2)
	for i := 0; i < 2; i++ {
		go func() {
			for k := 0; k < n/2; k++ {
				mutex.Lock()
				runtime.Gosched()
				mutex.Unlock()
			}
			wg.Done()
		}()
	}
	wg.Wait()
}

// Go's semaphore is a channel with room for one.
func semaphore(n int) {
	permits := make(chan bool, 1)
	var wg sync.WaitGroup
	wg.Add(2)
	for i := 0; i < 2; i++ {
		go func() {
			for k := 0; k < n/2; k++ {
				permits <- true
				runtime.Gosched()
				<-permits
			}
			wg.Done()
		}()
	}
	wg.Wait()
}

func ignore() {}

func timers(n int) []*time.Timer {
	all := make([]*time.Timer, n)
	start()
	for i := range all {
		all[i] = time.AfterFunc(1000*time.Second+time.Duration(i*7919%n)*time.Microsecond, ignore)
	}
	return all
}

func cancel(n int) {
	all := timers(n)
	start()
	for _, timer := range all {
		timer.Stop()
	}
}

func expire(n int) {
	var wg sync.WaitGroup
	wg.Add(n)
	for i := 0; i < n; i++ {
		time.AfterFunc(time.Duration(i*7919%n), wg.Done)
	}
	wg.Wait()
}

func pairs(n int) {
	for i := 0; i < n; i++ {
		time.AfterFunc(1000*time.Second, ignore).Stop()
	}
}

func kib(name string) int {
	text, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(text), "\n") {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			n, _ := strconv.Atoi(words[1])
			return n
		}
	}
	return 0
}

func mappings() int {
	text, _ := os.ReadFile("/proc/self/maps")
	return strings.Count(string(text), "\n")
}

func parked(n int) {
	before, had := kib("VmRSS:")+kib("VmPTE:"), mappings()
	var begun sync.WaitGroup
	begun.Add(n)
	for i := 0; i < n; i++ {
		go func() {
			begun.Done()
			time.Sleep(time.Hour)
		}()
	}
	begun.Wait()
	bytes := float64(kib("VmRSS:")+kib("VmPTE:")-before) * 1024 / float64(n)
	stop()
	fmt.Printf("{\"ns\": %.3f, \"wall_ns\": %.3f, \"bytes\": %.1f, \"mappings\": %d}\n", float64(spent)/float64(n),
		float64(took)/float64(n), bytes, mappings()-had)
	os.Exit(0)
}

func main() {
	runtime.GOMAXPROCS(1)
	if len(os.Args) < 3 {
		os.Exit(2)
	}
	n, err := strconv.Atoi(os.Args[2])
	modes := map[string]func(){
		"switch2": func() { yields(n, 2) }, "switch1000": func() { yields(n, 1000) },
		"spawn": func() { spawn(n, 1) }, "spawn_batch": func() { spawn(n, 1000) },
		"queue": func() { queue(n, 128) }, "queue_one": func() { queue(n, 1) },
		"lock": func() { lock(n) }, "semaphore": func() { semaphore(n) },
		"timer_insert": func() { timers(n) }, "timer_cancel": func() { cancel(n) },
		"timer_expire": func() { expire(n) }, "timer_pair": func() { pairs(n) },
		"parked": func() { parked(n) },
	}
	mode := modes[os.Args[1]]
	if err != nil || n < 1 || mode == nil {
		os.Exit(2)
	}
	start()
	mode()
	stop()
	fmt.Printf("{\"ns\": %.3f, \"wall_ns\": %.3f}\n", float64(spent)/float64(n), float64(took)/float64(n))
}
