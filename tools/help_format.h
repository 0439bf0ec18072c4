// How --help looks: short value names, ranges and defaults in words, text broken at 80 columns.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

namespace fovea::tools {

class HelpFormat : public CLI::Formatter {
 public:
  std::string make_option(const CLI::Option* option, bool positional) const override;
  std::string make_footer(const CLI::App* app) const override;
};

/// Breaks a text into lines of at most `columns`, each behind `indent` spaces, without the first line's indent.
std::string wrap(const std::string& text, std::size_t indent, std::size_t columns = 80);

}  // namespace fovea::tools
