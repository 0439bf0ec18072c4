// Reads every source file and fails on an include that points the wrong way, a file grown too long, a heavy header in
// the public interface, or parallelism outside the one thread team. The table is that of docs/design.md, where each
// exception has its reason.
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "catch.h"

namespace {

namespace fs = std::filesystem;
using Rooms = std::set<std::string>;

constexpr int kMaxLines = 550;

const std::map<std::string, Rooms>& arrows() {
  static const std::map<std::string, Rooms> table = [] {
    std::map<std::string, Rooms> t = {
        {"core", {}},
        {"kernels", {"core"}},
        {"image", {"core", "kernels"}},
        {"layers", {"core", "kernels"}},
        // image: a model carries its preprocessing (image/preprocess.h), so that inference repeats training's.
        {"models", {"core", "image", "layers"}},
        {"augment", {"core", "kernels", "image"}},
        {"train", {"core", "kernels", "layers", "models", "image", "augment"}},
        {"infer/runtime", {"core", "kernels", "image"}},
        {"infer/graph", {"core", "kernels", "image", "infer/runtime"}},
        {"infer/quantize", {"core", "kernels", "image", "layers", "models", "infer/runtime", "infer/graph"}},
        {"infer/compile",
         {"core", "kernels", "image", "layers", "models", "infer/runtime", "infer/graph", "infer/quantize"}},
    };
    const Rooms below_insight = {"core", "kernels", "image", "layers", "models", "augment", "train", "infer"};
    t["insight"] = below_insight;
    Rooms below_tools = below_insight;
    below_tools.insert("insight");
    for (const char* top : {"tools", "examples", "bench", "include"}) t[top] = below_tools;
    return t;
  }();
  return table;
}

/// The room of a path such as "core/io/json.cc"; those of infer/ differ in whether they may see layers.
std::string room_of(const std::string& path) {
  const std::string top = path.substr(0, path.find('/'));
  if (top != "infer") return top;
  const std::string two = path.substr(0, path.find('/', path.find('/') + 1));
  return arrows().contains(two) ? two : top;
}

/// Nothing where `file` may include `included`, else the reason.
std::string arrow_error(const std::string& file, const std::string& included) {
  const std::string from = room_of(file);
  if (from == "tests") return {};
  const auto row = arrows().find(from);
  if (row == arrows().end()) return "folder " + from + " is no room: add it to the table, with a reason in docs/";
  const std::string to = room_of(included);
  if (included.find('/') == std::string::npos) return "spell own headers from the root, as in \"core/tensor.h\"";
  if (to == from || row->second.contains(to)) return {};
  if (to.starts_with("infer") && row->second.contains("infer")) return {};
  if (!arrows().contains(to)) return "no such room: " + to;
  return from + " may not include " + to;
}

struct Line {
  int number;
  std::string text;
};

struct Source {
  std::string path;  // from the root
  std::vector<Line> lines;
};

std::vector<Source> read_sources() {
  const fs::path root = FOVEA_SOURCE_DIR;
  std::vector<Source> sources;
  Rooms tops = {"tests", "infer"};
  for (const auto& [room, below] : arrows()) tops.insert(room.substr(0, room.find('/')));
  for (const std::string& top : tops) {
    if (!fs::is_directory(root / top)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / top)) {
      const std::string extension = entry.path().extension().string();
      if (!entry.is_regular_file() || (extension != ".cc" && extension != ".h" && extension != ".cu")) continue;
      Source source{entry.path().lexically_relative(root).generic_string(), {}};
      std::ifstream in(entry.path());
      std::string text;
      for (int number = 1; std::getline(in, text); ++number) source.lines.push_back({number, text});
      sources.push_back(std::move(source));
    }
  }
  return sources;
}

const std::vector<Source>& sources() {
  static const std::vector<Source> all = read_sources();
  return all;
}

/// What stands after `#<directive>`, or nothing where the line is another one.
std::string directive(std::string_view line, std::string_view name) {
  const auto skip = [&] { line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size())); };
  skip();
  if (!line.starts_with('#')) return {};
  line.remove_prefix(1);
  skip();
  if (!line.starts_with(name)) return {};
  line.remove_prefix(name.size());
  skip();
  return std::string(line);
}

std::string at(const Source& source, const Line& line) {
  return source.path + ":" + std::to_string(line.number) + ": " + line.text;
}

bool is_public_header(const std::string& path) {
  const std::string room = room_of(path);
  if (!path.ends_with(".h") || Rooms{"tests", "tools", "examples", "bench"}.contains(room)) return false;
  for (const char* inner : {"kernels/cpu/", "kernels/cuda/", "/internal/", "-inl.h", "_internal.h"}) {
    if (path.find(inner) != std::string::npos) return false;
  }
  return true;
}

}  // namespace

TEST_CASE("the table knows right arrows from wrong ones") {
  CHECK(arrow_error("core/io/json.cc", "core/error.h").empty());
  CHECK(arrow_error("layers/conv.cc", "kernels/conv.h").empty());
  CHECK(arrow_error("tests/core/a_test.cc", "train/trainer.h").empty());
  CHECK(arrow_error("insight/audit.cc", "infer/runtime/session.h").empty());
  CHECK(arrow_error("infer/compile/fuse.cc", "infer/runtime/session.h").empty());
  CHECK_FALSE(arrow_error("core/tensor.cc", "kernels/conv.h").empty());
  CHECK_FALSE(arrow_error("kernels/conv.cc", "layers/conv.h").empty());
  CHECK_FALSE(arrow_error("image/jpeg.cc", "augment/dataset.h").empty());
  CHECK_FALSE(arrow_error("infer/runtime/session.cc", "layers/conv.h").empty());
  CHECK_FALSE(arrow_error("infer/graph/passes.cc", "models/model.h").empty());
  CHECK_FALSE(arrow_error("infer/runtime/session.cc", "infer/graph/network.h").empty());
  CHECK_FALSE(arrow_error("core/tensor.cc", "tests/catch.h").empty());
  CHECK_FALSE(arrow_error("core/tensor.cc", "error.h").empty());
}

TEST_CASE("includes point the way the table says, at files that exist") {
  REQUIRE(sources().size() > 3);
  std::string wrong;
  for (const Source& source : sources()) {
    for (const Line& line : source.lines) {
      const std::string rest = directive(line.text, "include");
      if (rest.empty() || rest.front() != '"') continue;
      const std::string included = rest.substr(1, rest.find('"', 1) - 1);
      const std::string why = arrow_error(source.path, included);
      if (!why.empty()) wrong += at(source, line) + "  <- " + why + "\n";
      const fs::path root = FOVEA_SOURCE_DIR;
      if (why.empty() && !source.path.starts_with("tests/") && !fs::exists(root / included)) {
        wrong += at(source, line) + "  <- no such file\n";
      }
    }
  }
  INFO(wrong);
  CHECK(wrong.empty());
}

TEST_CASE("no file grows beyond what one reads in a sitting") {
  std::string wrong;
  for (const Source& source : sources()) {
    if (source.lines.size() <= kMaxLines) continue;
    wrong += source.path + " has " + std::to_string(source.lines.size()) + " lines\n";
  }
  INFO(wrong << "split by purpose; the limit is " << kMaxLines);
  CHECK(wrong.empty());
}

TEST_CASE("files that are compiled together share no name of a function") {
  // Two functions of one name become overloads there, and a call may take the other file's without a word.
  const std::regex definition("[A-Za-z_][A-Za-z0-9_:<>,&* ]*[ &*]([a-z_][A-Za-z0-9_]*)\\(.*[^;]");
  std::string wrong;
  int seen = 0;
  for (const std::string folder : {"tools/", "tests/tools/"}) {
    std::map<std::string, std::string> hidden;  // where a function of an unnamed namespace stands
    std::map<std::string, Rooms> all;
    for (const Source& source : sources()) {
      if (!source.path.starts_with(folder) || !source.path.ends_with(".cc")) continue;
      bool inside = false;
      for (const Line& line : source.lines) {
        if (line.text == "namespace {") inside = true;
        if (line.text == "}  // namespace") inside = false;
        std::smatch match;
        if (!std::regex_match(line.text, match, definition)) continue;
        all[match[1]].insert(source.path);
        if (inside) hidden.emplace(match[1], at(source, line));
      }
    }
    for (const auto& [name, place] : hidden) {
      ++seen;
      if (all[name].size() > 1) wrong += place + ": " + name + " stands in another file of " + folder + " too\n";
    }
  }
  CHECK(seen > 50);  // the pattern finds them
  INFO(wrong);
  CHECK(wrong.empty());
}

TEST_CASE("all parallelism goes through core/threads") {
  std::string wrong;
  for (const Source& source : sources()) {
    if (source.path.starts_with("core/threads")) continue;
    for (const Line& line : source.lines) {
      if (directive(line.text, "pragma").starts_with("omp")) wrong += at(source, line) + "\n";
      if (directive(line.text, "include").starts_with("<omp.h>")) wrong += at(source, line) + "\n";
    }
  }
  INFO(wrong);
  CHECK(wrong.empty());
}

TEST_CASE("public headers are light and free of third-party types") {
  // Each of these costs a program tens to hundreds of milliseconds of compile time, or drags in another library.
  const Rooms heavy = {"<iostream>", "<regex>", "<fstream>", "<sstream>", "<iomanip>", "<future>", "<filesystem>"};
  const Rooms opt_in = {"core/eigen.h"};
  std::string wrong;
  for (const Source& source : sources()) {
    if (!is_public_header(source.path) || opt_in.contains(source.path)) continue;
    for (const Line& line : source.lines) {
      std::string rest = directive(line.text, "include");
      if (rest.empty() || rest.front() != '<') continue;
      rest = rest.substr(0, rest.find('>') + 1);
      const bool third_party = rest.find('/') != std::string::npos || (rest.ends_with(".h>") && rest != "<stdint.h>");
      if (heavy.contains(rest) || third_party) wrong += at(source, line) + "\n";
    }
  }
  INFO(wrong);
  CHECK(wrong.empty());
}

TEST_CASE("the library's own headers do not include the umbrella header") {
  std::string wrong;
  for (const Source& source : sources()) {
    if (Rooms{"tests", "tools", "examples", "bench", "include"}.contains(room_of(source.path))) continue;
    for (const Line& line : source.lines) {
      if (directive(line.text, "include").find("fovea/fovea.h") != std::string::npos) wrong += at(source, line) + "\n";
    }
  }
  INFO(wrong);
  CHECK(wrong.empty());
}
