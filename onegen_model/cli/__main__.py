"""`python -m onegen_model.cli …`: the same as `onegen …`, for launchers that need a module."""

from onegen_model.cli import main

raise SystemExit(main())
