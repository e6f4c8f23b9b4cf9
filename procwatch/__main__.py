"""The console entry; it imports nothing at the top, because worker processes import it again."""


def main() -> int:
    """Run the command line of this process and return its exit code."""
    import sys

    try:
        from procwatch.cli.main import main as run_command_line

        return run_command_line(sys.argv[1:])
    except KeyboardInterrupt:  # while it is imported
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
