"""Sound and pictures out of files, decoded in a child process that a bad file may kill."""
