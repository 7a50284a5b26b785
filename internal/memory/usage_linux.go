package memory

import (
	"bufio"
	"bytes"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// Peak is the largest resident memory of this process since it began or since ResetPeak, in bytes; 0 where /proc does not say.
func Peak() int64 { return kilobytes("/proc/self/status", "VmHWM:") }

// Resident is the resident memory of this process, in bytes; 0 where /proc does not say.
func Resident() int64 { return kilobytes("/proc/self/status", "VmRSS:") }

// OfProcess is the resident memory of a process of this machine and its largest, in bytes; 0 where /proc does not say.
func OfProcess(pid int) (resident, peak int64) {
	status := "/proc/" + strconv.Itoa(pid) + "/status"
	return kilobytes(status, "VmRSS:"), kilobytes(status, "VmHWM:")
}

// ResetPeak lets Peak count from here on. Where the system does not allow it, it returns false, and Peak goes on counting from the beginning.
func ResetPeak() bool { return os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) == nil }

// kilobytes reads a line "name n kB" of a file of /proc, in bytes.
func kilobytes(file, name string) int64 {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(data)); s.Scan(); {
		if f := strings.Fields(s.Text()); len(f) == 3 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// Total is the memory of the machine, in bytes; 0 where /proc does not say.
func Total() int64 { return kilobytes("/proc/meminfo", "MemTotal:") }

// Available is how much memory this process may still take, in bytes: what the machine can give without swapping, and no more than the limits of
// the control groups that it is in leave.
func Available() (free int64, known bool) {
	free = kilobytes("/proc/meminfo", "MemAvailable:")
	if free == 0 {
		return 0, false
	}
	groups, _ := os.ReadFile("/proc/self/cgroup")
	return min(free, groupRoom(string(groups), "/sys/fs/cgroup")), true
}

// groupRoom is what the control groups listed in text, as in /proc/self/cgroup, leave: those under root and all above them, of either version.
func groupRoom(text, root string) int64 {
	room := int64(math.MaxInt64)
	for _, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.SplitN(line, ":", 3)
		if len(f) != 3 {
			continue
		}
		dir, v2 := "", f[1] == ""
		switch {
		case v2:
			dir = root
		case strings.Contains(","+f[1]+",", ",memory,"):
			dir = path.Join(root, "memory")
		default:
			continue
		}
		for p := path.Clean("/" + f[2]); ; p = path.Dir(p) {
			room = min(room, oneGroupRoom(path.Join(dir, p), v2))
			if p == "/" {
				break
			}
		}
	}
	return room
}

// oneGroupRoom is what one control group leaves: its limit less its use, of which file pages that can be dropped do not count.
func oneGroupRoom(dir string, v2 bool) int64 {
	limitFile, useFile, cache := "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "
	if v2 {
		limitFile, useFile, cache = "memory.max", "memory.current", "inactive_file "
	}
	limit, ok := number(path.Join(dir, limitFile))
	if !ok {
		return math.MaxInt64
	}
	use, _ := number(path.Join(dir, useFile))
	stat, _ := os.ReadFile(path.Join(dir, "memory.stat"))
	for _, line := range strings.Split(string(stat), "\n") {
		if n, found := strings.CutPrefix(line, cache); found {
			dropped, _ := strconv.ParseInt(n, 10, 64)
			use -= dropped
		}
	}
	return max(0, limit-max(0, use))
}

// number reads a file that holds a number of bytes; "max" and what is beyond any machine mean none.
func number(file string) (int64, bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return n, err == nil && n < 1<<60
}
