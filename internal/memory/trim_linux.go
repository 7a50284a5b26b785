package memory

import (
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// TrimProgram gives back the pages of the program's own file that it has touched so far: starting touches most of them, and running a model few. A page
// that is needed again is mapped again, most likely without a read.
func TrimProgram() {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return
	}
	for _, m := range programMaps(maps, program) {
		_, _, _ = unix.Syscall(unix.SYS_MADVISE, m.at, m.n, unix.MADV_DONTNEED)
	}
}

// mapping is n bytes at an address.
type mapping struct{ at, n uintptr }

// programMaps are the mappings of a file, in /proc's smaps, that cannot be written to and never were: the file has all that stands there.
func programMaps(smaps []byte, file string) []mapping {
	var out []mapping
	var m mapping
	clean := false
	for line := range bytes.Lines(smaps) {
		f := strings.Fields(string(line))
		if len(f) == 6 && f[5] == file && (f[1] == "r-xp" || f[1] == "r--p") {
			begin, end, _ := strings.Cut(f[0], "-")
			lo, err := strconv.ParseUint(begin, 16, 64)
			hi, err2 := strconv.ParseUint(end, 16, 64)
			m, clean = mapping{uintptr(lo), uintptr(hi - lo)}, err == nil && err2 == nil && lo < hi
			continue
		}
		if len(f) >= 5 && strings.Contains(f[0], "-") {
			clean = false // another mapping
		}
		if clean && len(f) == 3 && f[0] == "Anonymous:" && f[1] == "0" {
			out, clean = append(out, m), false
		}
	}
	return out
}
