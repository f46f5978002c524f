"""What every command needs and no package owns: tables of names, settings, progress, worker processes, errors."""
