"""Compiles a component once, or runs one as `wasmtime run` does.

    run.py compile COMPONENT COMPILED
    run.py run COMPILED DIRECTORY [NAME=VALUE]...
"""

import pathlib
import sys

from platform_host import Platform


def main(task, path, place, *variables):
    if task == "compile":
        compiled = Platform(path, []).component.serialize()
        pathlib.Path(place).write_bytes(compiled)
        return 0
    return 0 if Platform(path, [each.split("=", 1) for each in variables], place).run() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
