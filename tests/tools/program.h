// Runs the built program as a shell would, and makes the small data it is run on.
#pragma once

#include <csignal>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "catch.h"
#include "tests/temp_folder.h"

namespace tool {

namespace fs = std::filesystem;
using Json = nlohmann::json;
using Words = std::vector<std::string>;

/// In memory, since checkpoints are synced to the disk.
struct TempFolder : fovea::test::TempFolder {
  TempFolder() : fovea::test::TempFolder(true) { fs::permissions(path(), fs::perms(0755)); }
};

std::string read(const std::string& path);
void write(const std::string& path, const std::string& bytes);
inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }
/// The weights that a training below a folder left.
inline std::string weights_of(const TempFolder& folder, const std::string& out) {
  return read(folder / (out + "/model.fovea"));
}
/// Names of all files below a folder, sorted, but for what is named .fovea-*.tmp.
Words files_below(const std::string& folder);

struct Setup {
  std::string out_path;      ///< standard output goes here instead of Outcome::out
  std::string folder;        ///< working folder
  long file_limit = 0;       ///< no file may grow beyond so many bytes (RLIMIT_FSIZE)
  bool limit_kills = false;  ///< at the limit the system ends the program (SIGXFSZ) instead of refusing the write
  bool as_nobody = false;    ///< without root's rights
  int columns = 0;           ///< standard error is a terminal of this width
  int ranks = 0;             ///< started by mpirun on so many; the outcome is mpirun's
  std::string terminal;      ///< set by run()
  /// Called every millisecond while the program runs; a signal number ends the wait and is sent, 0 waits on.
  std::function<int()> watch;
};

struct Outcome {
  int code = -1;   ///< exit code; -1 where a signal ended it
  int signal = 0;  ///< that signal
  std::string out, err;
  Json json() const { return Json::parse(out); }
};

/// Runs `fovea words…` with English messages and no terminal.
Outcome run(const Words& words, const Setup& setup = {});

/// folder/class/picture<i>.png: squares of noise whose mean colour tells the class.
void make_pictures(const std::string& folder, const Words& classes, int each, int side = 12);
/// `train` with what makes it take milliseconds; more words may follow.
Words quick_train(const std::string& data, const std::string& out, const Words& more = {});

}  // namespace tool
