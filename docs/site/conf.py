"""How Sphinx shows the pages: `tools/build_site.py` runs it over a copy of them."""

from pathlib import Path

import lshsample

project = "lshsample"
author = "lshsample contributors"
project_copyright = author
version = release = lshsample.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
root_doc = "index"
nitpicky = False  # annotations name types of other packages, whose indexes are not here

nb_execution_mode = "off"  # notebooks hold their output
myst_heading_anchors = 4
myst_enable_extensions = []
# Addresses of files that are copied as they are: to Sphinx they are addresses of others.
myst_url_schemes = {"http": None, "https": None, "mailto": None, "as-it-is": "{{path}}"}
linkcheck_ignore = [r"(?!https?:)"]
# Blocks of `python` hold examples with prompts; others are shells, TOML and formats without a highlighter.
highlight_language = "python"

autosummary_generate = True
toc_object_entries_show_parents = "hide"
autodoc_typehints = "none"  # numpydoc's sections say them in words
numpydoc_show_class_members = True
numpydoc_show_inherited_class_members = False
numpydoc_class_members_toctree = False


def setup(app):
    """Attributes have no entries, so that a link would lead to a method of that name in another class."""
    from numpydoc.docscrape_sphinx import SphinxDocString

    process = SphinxDocString._process_param

    def unlinked(self, param, desc, fake_autosummary):
        return f"**{param}**", process(self, param, desc, fake_autosummary)[1]

    SphinxDocString._process_param = unlinked


# The pages of public names: named without their module, and classes with all methods.
templates_path = [str(Path(__file__).parent / "templates")]

html_theme = "pydata_sphinx_theme"
html_static_path = ["static"]
html_css_files = ["style.css"]
html_title = f"{project} {release}"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
html_sidebars = {"index": []}
