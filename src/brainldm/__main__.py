"""`python -m brainldm`, which torchrun and `accelerate launch` can start."""

from brainldm.cli import main

if __name__ == "__main__":
    main()
