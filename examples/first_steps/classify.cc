// What an application does with a trained model: load it once, classify pictures from several threads at a time.
//
//   example_classify MODEL.fovea PICTURES…
#include <fovea/fovea.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>
#include <vector>

using namespace fovea;

namespace {

std::string classify(const Model& model, const std::string& path) {
  const image::Preprocessing& p = model.preprocessing;  // stored with the model: the same as in training
  Tensor x({1, p.height, p.width, p.channels});
  image::to_floats(image::read_image(path), p, x.mutable_data<float>());
  const std::vector<float> probability = predict(model, x).to_vector<float>();
  const auto best = std::max_element(probability.begin(), probability.end());
  const auto index = static_cast<std::size_t>(best - probability.begin());
  const std::string name = index < model.class_names.size() ? model.class_names[index] : std::to_string(index);
  return name + "  " + std::to_string(std::lround(100 * *best)) + " %";
}

int run(const char* file, const std::vector<std::string>& pictures) {
  const Model model = load_model(file);
  set_num_threads(1);  // the threads below are the parallelism
  std::vector<std::string> answers(pictures.size());
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> failed = false;
  const auto work = [&] {
    for (std::size_t i = next++; i < pictures.size(); i = next++) {
      try {
        answers[i] = classify(model, pictures[i]);
      } catch (const Error& e) {  // one unreadable picture stops none of the others
        answers[i] = e.what();
        failed = true;
      }
    }
  };
  std::vector<std::thread> threads(4);
  for (std::thread& thread : threads) thread = std::thread(work);
  for (std::thread& thread : threads) thread.join();
  for (std::size_t i = 0; i < pictures.size(); ++i) std::printf("%s  %s\n", pictures[i].c_str(), answers[i].c_str());
  return failed ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: %s MODEL.fovea PICTURES...\n", argv[0]);
    return 2;
  }
  try {
    return run(argv[1], {argv + 2, argv + argc});
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
