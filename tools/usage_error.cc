#include "tools/usage_error.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace fovea::tools {
namespace {

/// Damerau and Levenshtein's distance (optimal string alignment).
std::size_t edits(std::string_view a, std::string_view b) {
  std::vector<std::array<std::size_t, 3>> column(b.size() + 1);  // this row, the one before, the one before that
  for (std::size_t j = 0; j <= b.size(); ++j) column[j] = {j, 0, 0};
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (auto& c : column) c = {0, c[0], c[1]};
    column[0][0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t change = column[j - 1][1] + (a[i - 1] != b[j - 1]);
      std::size_t best = std::min({change, column[j][1] + 1, column[j - 1][0] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) best = std::min(best, column[j - 2][2] + 1);
      column[j][0] = best;
    }
  }
  return column.back()[0];
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates) {
  const std::string found = nearest(word, candidates);
  return found.empty() ? "" : str("; did you mean '", found, "'?");
}

std::vector<std::string> long_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(command->get_name());
  return names;
}

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += str(text.empty() ? "" : ", ", word);
  return text;
}

/// "0.000000" → "0".
std::string trimmed(std::string number) {
  if (number.find('.') == std::string::npos) return number;
  while (number.back() == '0') number.pop_back();
  if (number.back() == '.') number.pop_back();
  return number;
}

/// The parser's "--lr: Value -1 not in range 0.000000 to 1797…" and "--augment: x not in {a,b}", as people say it.
std::string rephrase(const std::string& text) {
  const std::size_t colon = text.find(": ");
  if (colon == std::string::npos) return text;
  const std::string option = text.substr(0, colon + 2);
  const std::string rest = text.substr(colon + 2);
  if (const std::size_t at = rest.find(" not in {"); at != std::string::npos && rest.back() == '}') {
    std::vector<std::string> choices;
    std::string word;
    for (const char c : rest.substr(at + 9)) {
      if (c == ',' || c == '}') {
        choices.push_back(std::move(word));
        word.clear();
      } else {
        word += c;
      }
    }
    const std::string value = rest.substr(0, at);
    return str(option, "'", value, "' is none of ", joined(choices), did_you_mean(value, choices));
  }
  constexpr std::string_view kTwice = "At Most 1 required but received ";
  if (rest.starts_with(kTwice)) return str(option, "is given ", rest.substr(kTwice.size()), " times");
  const std::size_t at = rest.find(" not in range "), to = rest.rfind(" to ");
  if (rest.starts_with("Value ") && at != std::string::npos && to != std::string::npos && to > at) {
    const std::string low = trimmed(rest.substr(at + 14, to - at - 14)), high = trimmed(rest.substr(to + 4));
    const bool open = high.size() > 20;  // the largest number there is: no limit was meant
    const std::string value = rest.substr(6, at - 6);
    return open ? str(option, "'", value, "' is no positive number")
                : str(option, "'", value, "' is no number from ", low, " to ", high);
  }
  return text;
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  const std::size_t dashes = std::min(word.find_first_not_of('-'), word.size());
  std::string best;
  std::size_t fewest = std::max<std::size_t>(1, (word.size() - dashes) / 3) + 1;
  for (const std::string& candidate : candidates) {
    if (word.size() - dashes >= 3 && candidate.starts_with(word)) return candidate;
    const std::size_t distance = edits(word, candidate);
    if (distance < fewest) {
      fewest = distance;
      best = candidate;
    }
  }
  return best;
}

std::string explain_usage(const CLI::App& app, const CLI::ParseError& error) {
  const auto chosen = app.get_subcommands();
  const CLI::App* command = chosen.empty() ? nullptr : chosen.front();
  std::vector<std::string> extra = app.remaining(true);
  // An unknown option also leaves its value behind, so it is named first, before whatever else is wrong.
  std::stable_partition(extra.begin(), extra.end(), [](const std::string& word) { return word.starts_with("-"); });
  const std::string title = command ? "fovea " + command->get_name() : "fovea";
  std::string text;
  if (!command) {
    if (extra.empty()) return str("fovea: which command? ", joined(command_names(app)), "\n\n", app.help());
    text = extra.front().starts_with("-")
               ? str("there is no option '", extra.front(), "' before a command")
               : str("there is no command '", extra.front(), "'", did_you_mean(extra.front(), command_names(app)),
                     "\n       known are: ", joined(command_names(app)));
  } else if (!extra.empty() && extra.front().starts_with("-")) {
    const std::string name = extra.front().substr(0, extra.front().find('='));
    // One dash before a long name is a frequent slip.
    const std::string wanted = name.size() > 2 && name[1] != '-' ? "-" + name : name;
    const std::vector<std::string> known = long_names(*command);
    text = std::find(known.begin(), known.end(), wanted) != known.end() && wanted == name
               ? str("'", name, "' belongs behind the command: ", title, " ", name, " …")
               : str("there is no option '", name, "'", did_you_mean(wanted, known));
  } else if (!extra.empty()) {
    text = str("'", extra.front(), "' is one argument too many");
  } else {
    text = rephrase(error.what());
  }
  return str(title, ": ", text, "\n`", title, " --help` explains by example.\n");
}

}  // namespace fovea::tools
