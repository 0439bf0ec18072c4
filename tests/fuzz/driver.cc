// Damages good files and feeds them to one reader, the same way for the same --seed. Meant for sanitizer builds (`./dev
// fuzz`). The input at hand is written to disk before a crash or a hang ends the program.
//   fuzz_X [--seconds N] [--runs N] [--seed N]    fuzz
//   fuzz_X FILE...                                feed these files, to repeat a finding
#include "fuzz/driver.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <iterator>

#include "core/rng.h"

// Reading a file of a few kilobytes has no reason to ask for 4 GB; such a request is a missing cap. All reports end in
// SIGABRT, where the input is saved.
// Visible, because the sanitizers' shared libraries look them up.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options();
extern "C" const char* __asan_default_options() {
  return "max_allocation_size_mb=4096:abort_on_error=1:handle_abort=0";
}
extern "C" __attribute__((visibility("default"))) const char* __ubsan_default_options();
extern "C" const char* __ubsan_default_options() { return "abort_on_error=1:print_stacktrace=1"; }

namespace {

using fovea::Rng;

constexpr unsigned kHangSeconds = 20;
constexpr std::size_t kMaxBytes = 4 << 20;
constexpr std::size_t kLarge = 256 << 10;  // whole networks, whose bytes are mostly weights and take long to read

std::string current;            // what the reader is looking at
char finding[512] = "finding";  // where it is written when that goes wrong

// Only what is allowed in a signal handler.
void save_finding() {
  const int file = open(finding, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (file < 0) return;
  const bool whole = write(file, current.data(), current.size()) == static_cast<ssize_t>(current.size());
  close(file);
  const char* text = whole ? "the input was saved; repeat with this program and the file " : "could not save all of ";
  for (const char* part : {text, static_cast<const char*>(finding), "\n"}) {
    if (write(STDERR_FILENO, part, std::strlen(part)) < 0) return;
  }
}

void on_signal(int number) {
  const char text[] = "the reader hangs\n";
  if (number == SIGALRM && write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(3);
  save_finding();
  _exit(3);
}

void feed() {
  alarm(kHangSeconds);
  try {
    LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(current.data()), current.size());
  } catch (const std::exception& e) {
    std::fprintf(stderr, "an exception that the target does not expect: %s\n", e.what());
    save_finding();
    std::_Exit(3);
  }
  alarm(0);
}

std::uint64_t below(Rng& rng, std::uint64_t bound) { return rng.next() % bound; }

void write_at(std::string& bytes, std::size_t at, std::uint64_t value, int width, bool little) {
  for (int i = 0; i < width && at + static_cast<std::size_t>(i) < bytes.size(); ++i) {
    const int shift = 8 * (little ? i : width - 1 - i);
    bytes[at + static_cast<std::size_t>(i)] = static_cast<char>(value >> shift);
  }
}

/// One small damage: what transmission, truncation and malice do.
void damage(std::string& bytes, const std::vector<std::string>& seeds, Rng& rng) {
  static constexpr std::uint64_t kEdges[] = {0,
                                             1,
                                             2,
                                             0x7f,
                                             0x80,
                                             0xff,
                                             0x7fff,
                                             0x8000,
                                             0xffff,
                                             0x7fffffff,
                                             0x80000000,
                                             0xffffffff,
                                             0x7fffffffffffffff,
                                             0x8000000000000000,
                                             0xffffffffffffffff,
                                             100000,
                                             65500};
  if (bytes.empty()) bytes = std::string(1, '\0');
  std::size_t at = below(rng, bytes.size());
  // What describes a network stands at its file's head or tail.
  if (bytes.size() > kLarge) {
    const std::size_t near = below(rng, 1 << 14);
    if (const std::uint64_t where = below(rng, 8); where < 6) at = where < 3 ? near : bytes.size() - 1 - near;
  }
  const std::size_t length = 1 + below(rng, std::min<std::size_t>(bytes.size() - at, 64));
  switch (below(rng, 9)) {
    case 0: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(rng, 8))); break;
    case 1: bytes[at] = static_cast<char>(rng.next()); break;
    case 2: write_at(bytes, at, kEdges[below(rng, std::size(kEdges))], 1 << below(rng, 4), below(rng, 2) != 0); break;
    case 3: bytes.resize(at); break;
    case 4: bytes.erase(at, length); break;
    case 5: bytes.insert(at, bytes.substr(below(rng, bytes.size()), length)); break;
    case 6: bytes.insert(at, length, static_cast<char>(rng.next())); break;
    case 7: {  // a digit: lengths and offsets in text
      const std::size_t digit = bytes.find_first_of("0123456789", at);
      if (digit != std::string::npos) bytes[digit] = static_cast<char>('0' + below(rng, 10));
      break;
    }
    default: {  // the head of one file on the tail of another
      const std::string& other = seeds[below(rng, seeds.size())];
      if (!other.empty()) bytes = bytes.substr(0, at) + other.substr(below(rng, other.size()));
    }
  }
  if (bytes.size() > kMaxBytes) bytes.resize(kMaxBytes);
}

long number_after(int argc, char** argv, int& i) {
  if (i + 1 >= argc) {
    std::fprintf(stderr, "%s wants a number\n", argv[i]);
    std::exit(2);
  }
  return std::atol(argv[++i]);
}

}  // namespace

int main(int argc, char** argv) {
  long seconds = 30, runs = -1, seed = 1;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "--seconds")
      seconds = number_after(argc, argv, i);
    else if (option == "--runs")
      runs = number_after(argc, argv, i);
    else if (option == "--seed")
      seed = number_after(argc, argv, i);
    else
      files.push_back(option);
  }
  const std::string program = argv[0];
  std::snprintf(finding, sizeof finding, "finding-%s-seed%ld.bin", program.substr(program.rfind('/') + 1).c_str(),
                seed);
  for (const int number : {SIGALRM, SIGABRT, SIGFPE, SIGILL}) signal(number, on_signal);

  for (const std::string& path : files) {
    std::ifstream in(path, std::ios::binary);
    current.assign(std::istreambuf_iterator<char>(in), {});
    std::printf("%s: %zu bytes\n", path.c_str(), current.size());
    feed();
  }
  if (!files.empty()) return 0;

  const std::vector<std::string> seeds = fuzz_seeds();
  for (const std::string& good : seeds) {  // every cut of every good file, as far as that is quick
    const std::size_t cuts = good.size() > kLarge ? 20 : 2000;
    for (std::size_t cut = 0; cut <= good.size(); cut += 1 + good.size() / cuts) {
      current = good.substr(0, cut);
      feed();
    }
  }
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  long done = 0;
  for (; runs < 0 ? std::chrono::steady_clock::now() < end : done < runs; ++done) {
    Rng rng(static_cast<std::uint64_t>(seed), "fuzz", static_cast<std::uint64_t>(done));
    current = seeds[below(rng, seeds.size())];
    if (current.size() > kLarge && below(rng, 4) != 0) current = seeds[below(rng, seeds.size())];
    for (std::uint64_t n = 1 + below(rng, 6); n > 0; --n) damage(current, seeds, rng);
    feed();
  }
  std::printf("%ld damaged files from %zu good ones, seed %ld: nothing found\n", done, seeds.size(), seed);
  return 0;
}
