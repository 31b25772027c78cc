"""Build the package: everything that describes it stands in settings.ini, the version in voxtral_nb/__init__.py."""
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
cfg = ConfigParser(delimiters=["="], interpolation=None)
cfg.read(here/"settings.ini", encoding="utf-8")
cfg = cfg["DEFAULT"]


def lines(key): return [o.strip() for o in cfg.get(key, "").splitlines() if o.strip()]


version = re.search(r'__version__ *= *"([^"]+)"',
                    (here/"voxtral_nb"/"__init__.py").read_text(encoding="utf-8")).group(1)
extras = {k.removesuffix("_requirements"): lines(k) for k in cfg if k.endswith("_requirements")}
readme = here/"README.md"


FIXTURES = "voxtral_nb.testing"  # for tests, and for notebooks that make the assets: not in the wheel


class BuildWithRuns(build_py):
    """Carry nbs/runs/*.ipynb in the wheel as voxtral_nb/assets/runs.

    Git holds one copy, and an editable checkout reads that one in place."""
    def run(self):
        super().run()
        if self.editable_mode: return
        dest = Path(self.build_lib)/"voxtral_nb"/"assets"/"runs"
        dest.mkdir(parents=True, exist_ok=True)
        for nb in sorted((here/"nbs"/"runs").glob("*.ipynb")):
            if FIXTURES not in nb.read_text(encoding="utf-8"): self.copy_file(str(nb), str(dest/nb.name))
        self.copy_file(str(here/"constraints.txt"), str(dest.parent/"constraints.txt"))  # what the doctor compares with


setup(
    name=cfg["lib_name"], version=version, description=cfg["description"], keywords=cfg["keywords"].split(),
    author=cfg["author"], author_email=cfg["author_email"], license=cfg["license"],
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "",
    long_description_content_type="text/markdown",
    python_requires=f">={cfg['min_python']}", install_requires=lines("requirements"), extras_require=extras,
    packages=find_packages(include=["voxtral_nb", "voxtral_nb.*"], exclude=[FIXTURES, f"{FIXTURES}.*"]),
    include_package_data=True,
    entry_points={"console_scripts": lines("console_scripts"), "nbdev": ["voxtral_nb = voxtral_nb._modidx:d"]},
    cmdclass={"build_py": BuildWithRuns}, zip_safe=False,
)
