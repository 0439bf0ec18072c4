// What the program says when its command line is wrong: what came, what was probably meant, where to read on.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::tools {

/// The text for standard error, with a line end.
std::string explain_usage(const CLI::App& app, const CLI::ParseError& error);

/// The candidate that `word` probably means: one that it begins (of at least 3 letters), or the nearest by edits
/// (exchanged neighbours count one) where these are few for its length. Empty where none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace fovea::tools
