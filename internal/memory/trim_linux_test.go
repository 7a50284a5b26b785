package memory

import (
	"os"
	"slices"
	"testing"
)

// TestProgramMaps: mappings of the file alone, which cannot be written to and have no page of their own: such a page would be lost.
func TestProgramMaps(t *testing.T) {
	const smaps = `00400000-00e6f000 r-xp 00000000 fe:00 42                         /usr/bin/mor
Rss:                 100 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
00e6f000-01970000 r--p 00a6f000 fe:00 42                         /usr/bin/mor
Anonymous:             0 kB
01970000-01980000 r--p 01570000 fe:00 42                         /usr/bin/mor
Anonymous:            64 kB
01980000-01f1d000 rw-p 01580000 fe:00 42                         /usr/bin/mor
Anonymous:             0 kB
01f1d000-03f5d000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000000000-7f0000001000 r-xp 00000000 fe:00 43                 /usr/lib/libc.so.6
Anonymous:             0 kB
zz-7f0000001000 r-xp 00000000 fe:00 42                 /usr/bin/mor
Anonymous:             0 kB
`
	want := []mapping{{0x400000, 0xa6f000}, {0xe6f000, 0xb01000}}
	if got := programMaps([]byte(smaps), "/usr/bin/mor"); !slices.Equal(got, want) {
		t.Errorf("got %x, expected %x", got, want)
	}
}

// TestTrimProgram: the program goes on.
func TestTrimProgram(t *testing.T) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Skip("this system does not tell where a program lies")
	}
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip("this system does not tell what is mapped")
	}
	if len(programMaps(maps, program)) == 0 {
		t.Errorf("no mapping of %s found", program)
	}
	TrimProgram()
	if got := testing.AllocsPerRun(1, func() { NewRegion(1) }); got < 1 {
		t.Errorf("%v allocations of a region", got)
	}
}
