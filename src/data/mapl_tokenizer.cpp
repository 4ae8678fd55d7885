// mapl-tokenizer: text to tokens and back. A program of its own because SentencePiece and LibTorch
// cannot live in one process; `mapl data` and `mapl generate` call it. The work is done by a child,
// because a hostile .model file can crash SentencePiece or keep it busy: this process lives to say
// so.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/status.h"
#include "data/apart.h"
#include "data/prepare.h"
#include "data/staging.h"
#include "data/tokenizer.h"

namespace mapl::data {
namespace {

using nlohmann::json;

struct CodecOptions {
  std::string model;
  bool bos = false;
  bool json_text = false;
};

void run_data(const PrepareOptions& options) {
  Progress progress(stderr);
  const Prepared done = prepare(options, progress);
  fmt::print("documents  {:>12}\ntrain      {:>12} tokens in {} shard{}\n", done.num_documents,
             done.train_tokens, done.train_shards, done.train_shards == 1 ? "" : "s");
  fmt::print("validation {:>12} tokens in {} shard{}\ntokenizer  {:>12} pieces\n",
             done.validation_tokens, done.validation_shards, done.validation_shards == 1 ? "" : "s",
             done.vocab_size);
  if (done.num_replaced > 0) {
    fmt::print("{} malformed UTF-8 sequence{} became U+FFFD\n", done.num_replaced,
               done.num_replaced == 1 ? "" : "s");
  }
  if (done.num_unknown > 0) {
    fmt::print("{} tokens are <unk>: the given tokenizer has no byte fallback\n", done.num_unknown);
  }
}

// A line of stdin as JSON of the expected kind.
template <typename T>
T parse_line(const std::string& line, int64_t number, const char* expected) {
  try {
    return json::parse(line).get<T>();
  } catch (const json::exception&) {
    throw UserError(fmt::format("stdin, line {}: received {:?}, expected {}", number,
                                line.substr(0, 60), expected));
  }
}

void run_encode(const CodecOptions& options) {
  const Tokenizer tokenizer = Tokenizer::load(options.model);
  std::string line;
  std::vector<int> ids;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    if (options.json_text) line = parse_line<std::string>(line, number, "a JSON string");
    tokenizer.encode(line, ids);
    if (options.bos) ids.insert(ids.begin(), tokenizer.bos());
    std::cout << json(ids) << std::endl;
  }
}

void run_decode(const CodecOptions& options) {
  const Tokenizer tokenizer = Tokenizer::load(options.model);
  std::string line;
  for (int64_t number = 1; std::getline(std::cin, line); ++number) {
    const auto ids = parse_line<std::vector<int>>(line, number, "a JSON array of token ids");
    const std::string text = tokenizer.decode(ids);
    if (options.json_text) {
      std::cout << json(text).dump(-1, ' ', false, json::error_handler_t::replace) << std::endl;
    } else {
      std::cout << text << std::endl;
    }
  }
}

void add_data(CLI::App& app, PrepareOptions& options, std::function<void()>& work) {
  auto* data = app.add_subcommand("data", "Make a tokenizer and token shards from text files");
  data->add_option("--text", options.text, "Text files, UTF-8")->required();
  auto* tokenizer = data->add_option_group("tokenizer");
  tokenizer->add_option("--vocab-size", options.vocab_size,
                        "Train a byte-pair tokenizer of this many pieces (at most 65536)");
  tokenizer->add_option("--model", options.model, "Take this SentencePiece .model");
  tokenizer->require_option(1);
  data->add_option("--out", options.out, "Folder to make; it must be new or empty")->required();
  data->add_option("--validation-fraction", options.validation_fraction,
                   "Share of the documents that goes to validation")
      ->capture_default_str();
  data->add_option("--seed", options.seed, "Of the split")->capture_default_str();
  data->add_option("--shard-tokens", options.shard_tokens, "Tokens per shard file, at most")
      ->capture_default_str();
  data->add_option(
          "--sample-bytes", options.sample_bytes,
          "Bytes of text, about, to train the tokenizer on; takes some 12 times as much memory")
      ->capture_default_str();
  Documents::Options& documents = options.documents;
  const std::map<std::string, Separator> separators = {
      {"entry", Separator::kEntry}, {"line", Separator::kLine}, {"file", Separator::kFile}};
  auto* separator =
      data->add_option("--separator", documents.separator,
                       "What ends a document: entry (a blank line before an unindented line, the "
                       "default), line (every line) or file (only the end of the file)")
          ->transform(CLI::CheckedTransformer(separators))
          ->option_text("entry|line|file");
  data->add_option_function<std::string>(
          "--separator-line",
          [&documents](const std::string& line) {
            documents.separator = Separator::kMark;
            documents.mark = line;
          },
          "A line equal to this ends a document")
      ->excludes(separator);
  const std::map<std::string, Whitespace> whitespaces = {{"fold", Whitespace::kFold},
                                                         {"keep", Whitespace::kKeep}};
  data->add_option("--whitespace", documents.whitespace,
                   "fold (runs become one space, the default) or keep")
      ->transform(CLI::CheckedTransformer(whitespaces))
      ->option_text("fold|keep");
  const std::map<std::string, InvalidUtf8> rules = {{"refuse", InvalidUtf8::kRefuse},
                                                    {"replace", InvalidUtf8::kReplace}};
  data->add_option("--invalid-utf8", documents.invalid_utf8,
                   "refuse (the default) or replace (by U+FFFD)")
      ->transform(CLI::CheckedTransformer(rules))
      ->option_text("refuse|replace");
  data->callback([&] { work = [&options] { run_data(options); }; });
}

void add_codec(CLI::App& app, CodecOptions& options, std::function<void()>& work) {
  auto* encode = app.add_subcommand("encode", "Lines of text on stdin to JSON arrays of token ids");
  encode->add_flag("--bos", options.bos, "Put BOS before every text");
  encode->callback([&] { work = [&options] { run_encode(options); }; });
  auto* decode = app.add_subcommand("decode", "JSON arrays of token ids on stdin to lines of text");
  decode->callback([&] { work = [&options] { run_decode(options); }; });
  for (auto* command : {encode, decode}) {
    command->add_option("--model", options.model, "SentencePiece .model")->required();
    command->add_flag("--json", options.json_text,
                      "A text is a JSON string, so that it can hold line ends");
  }
}

// Prints what `work` throws; the exit code.
int report_errors(const std::function<void()>& work) {
  try {
    work();
    return 0;
  } catch (const UserError& error) {
    fmt::print(stderr, "mapl: error: {}\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "mapl: error: {}\n", error.what());
    return 1;
  }
}

// Does not return but by UserError, when the `model` that was given crashed the child. Without one
// a crash is our bug: this process ends as its child did.
void supervise(const std::function<void()>& work, const std::string& model,
               const std::string& out) {
  const Ended ended = run_apart([&] { return report_errors(work); });
  if (ended.crashed() && !out.empty()) Staging::remove_left_by(ended.process, out);
  if (!ended.crashed() || model.empty()) end_likewise(ended);
  if (ended.signal == SIGPROF) {
    throw UserError(
        fmt::format("tokenizer {}: SentencePiece had not loaded it after {} s of work; the file is "
                    "damaged or hostile: take one from whom you trust",
                    model, kMaxLoadSeconds));
  }
  const std::string how =
      ended.signal != 0 ? fmt::format("signal {}, {}", ended.signal, ::strsignal(ended.signal))
                        : "it gave up";
  throw UserError(
      fmt::format("tokenizer {}: SentencePiece crashed while working with it ({}); the file is "
                  "damaged or hostile: take one from whom you trust",
                  model, how));
}

int run(int argc, char** argv) {
  CLI::App app("Text to tokens and back, for mapl.", "mapl-tokenizer");
  PrepareOptions prepare_options;
  CodecOptions codec_options;
  std::function<void()> work;
  add_data(app, prepare_options, work);
  add_codec(app, codec_options, work);
  app.require_subcommand(1);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    fmt::print(stderr, "mapl: error: {}; see mapl-tokenizer --help\n", error.what());
    return 2;
  }
  const std::string& model =
      codec_options.model.empty() ? prepare_options.model : codec_options.model;
  return report_errors([&] { supervise(work, model, prepare_options.out); });
}

}  // namespace
}  // namespace mapl::data

int main(int argc, char** argv) { return mapl::data::run(argc, argv); }
