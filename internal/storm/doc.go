// Package storm holds both daemons to "nothing is lost": they are killed between any two system calls, every call
// that can fail fails, files and devices change under them for minutes, and what is there in the end is what would
// be there without all that. It runs the real programs on small machines, and holds nothing but these tests.
package storm
