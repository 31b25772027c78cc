"""Build the package: everything that describes it stands in settings.ini, the version in voxtral_nb/__init__.py."""
import re
from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).parent
cfg = ConfigParser(delimiters=["="], interpolation=None)
cfg.read(here/"settings.ini", encoding="utf-8")
cfg = cfg["DEFAULT"]


def lines(key): return [o.strip() for o in cfg.get(key, "").splitlines() if o.strip()]


version = re.search(r'__version__ *= *"([^"]+)"', (here/"voxtral_nb"/"__init__.py").read_text(encoding="utf-8")).group(1)
extras = {k.removesuffix("_requirements"): lines(k) for k in cfg if k.endswith("_requirements")}
readme = here/"README.md"

setup(
    name=cfg["lib_name"], version=version, description=cfg["description"], keywords=cfg["keywords"].split(),
    author=cfg["author"], author_email=cfg["author_email"], license=cfg["license"],
    long_description=readme.read_text(encoding="utf-8") if readme.exists() else "", long_description_content_type="text/markdown",
    python_requires=f">={cfg['min_python']}", install_requires=lines("requirements"), extras_require=extras,
    packages=find_packages(include=["voxtral_nb", "voxtral_nb.*"]), include_package_data=True,
    entry_points={"console_scripts": lines("console_scripts"), "nbdev": ["voxtral_nb = voxtral_nb._modidx:d"]},
    zip_safe=False,
)
