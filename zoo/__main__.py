"""``python -m zoo``, the form that launchers such as torchrun need."""

from zoo.cli.main import main

if __name__ == "__main__":
    main()
