#include "tools/help_format.h"

#include "tools/progress.h"

namespace fovea::tools {
namespace {

constexpr std::size_t kColumn = 28;

/// "INT:INT in [1 - 1024]" → value "N", range "1 to 1024"; "TEXT:{a,b}" → value "NAME", range "a, b".
struct Value {
  std::string name, range;
};

Value describe_option(const CLI::Option& option) {
  const std::string type = option.get_type_name();
  if (type.empty()) return {};  // a flag
  Value value;
  value.name = type.starts_with("FLOAT") ? "X" : type.starts_with("INT") || type.starts_with("UINT") ? "N" : "NAME";
  const std::size_t open = type.find_first_of("[{"), close = type.find_last_of("]}");
  if (open == std::string::npos || close == std::string::npos || close < open) return value;
  for (const char c : type.substr(open + 1, close - open - 1))
    value.range += c == ',' ? std::string(", ") : std::string(1, c);
  if (const std::size_t dash = value.range.find(" - "); type[open] == '[' && dash != std::string::npos) {
    // Limits that only keep numbers sane (65536, 2^30) say nothing to readers.
    value.range = value.range.size() - dash > 7 ? "" : value.range.replace(dash, 3, " to ");
  }
  return value;
}

}  // namespace

std::string wrap(const std::string& text, std::size_t indent, std::size_t columns) {
  std::string out, line;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    at = end + 1;
    if (!line.empty() && indent + text_width(line) + 1 + text_width(word) > columns) {
      out += line + "\n" + std::string(indent, ' ');
      line.clear();
    }
    line += (line.empty() ? "" : " ") + word;
  }
  return out + line;
}

std::string HelpFormat::make_option(const CLI::Option* option, bool positional) const {
  const Value value = describe_option(*option);
  std::string left = "  " + option->get_name(positional, true);
  if (!positional && !value.name.empty()) left += " " + value.name;
  if (positional && option->get_items_expected_max() > 1) left += "...";
  std::string text = option->get_description();
  // Descriptions name the choices where these need a word each.
  const bool named =
      !value.range.empty() && text.find(value.range.substr(0, value.range.find(','))) != std::string::npos;
  if (!value.range.empty() && !named) text += " [" + value.range + "]";
  if (!positional && !option->get_default_str().empty()) text += " (default " + option->get_default_str() + ")";
  left +=
      text_width(left) + 2 > kColumn ? "\n" + std::string(kColumn, ' ') : std::string(kColumn - text_width(left), ' ');
  return left + wrap(text, kColumn) + "\n";
}

std::string HelpFormat::make_footer(const CLI::App* app) const {
  std::string out, footer = app->get_footer();
  for (std::size_t at = 0; at < footer.size();) {
    const std::size_t end = std::min(footer.find('\n', at), footer.size());
    const std::string line = footer.substr(at, end - at);
    at = end + 1;
    out += "\n" + (line.starts_with("  ") ? line : wrap(line, 0));
  }
  return out.empty() ? out : out + "\n";
}

}  // namespace fovea::tools
