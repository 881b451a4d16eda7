"""The page on a user's own network and data: its files and commands do what it says, the real compiler included."""

from pathlib import Path

import pytest

from docs_tools.run_page import blocks, filled, run_block, shortened

PAGE = Path(__file__).parents[2] / "docs" / "own.md"
SMALL = """# Title

New file `a.txt`:

```text
hello
```

```sh
cat a.txt
seq 40
```

```
old
```

```python
untouched
```
"""


def test_a_page_gets_what_its_commands_print(tmp_path: Path) -> None:
    page = filled(SMALL, tmp_path)
    assert (tmp_path / "a.txt").read_text() == "hello\n"
    output = next(block.text for block in blocks(page) if not block.language)
    assert output.splitlines()[:3] == ["hello", "1", "2"]
    assert output.splitlines()[-1] == "40"
    assert "..." in output
    assert "old" not in page
    assert "untouched" in page
    assert shortened("\x1b[1mbold\x1b[0m  \n") == "bold\n"


def test_a_command_that_fails_ends_the_page(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="false\nended with 1:"):
        filled("```sh\nfalse\n```\n", tmp_path)


@pytest.mark.slow
def test_the_whole_page_runs(tmp_path: Path, finn_plus: str) -> None:
    for block in blocks(PAGE.read_text()):
        run_block(block, tmp_path)
    for run in ("shapes", "rows", "four"):
        assert (tmp_path / "runs" / run / "finn" / "estimate" / "estimate.json").is_file()
