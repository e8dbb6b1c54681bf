import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import {
  getLlama,
  LlamaChatSession,
  LlamaLogLevel,
  type LlamaModel,
  readGgufFileInfo,
  resolveChatWrapper,
  type Token,
} from 'node-llama-cpp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { readPassages } from '../../../scripts/tiny-model/corpus.ts';
import { generateModelDirectory } from '../../../scripts/tiny-model/directory.ts';
import { DEFAULT_CORPUS, generateTinyModel, readVocabulary } from '../../../scripts/tiny-model/generate.ts';
import { generateRandomModel } from '../../../scripts/tiny-model/random.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';

let folder: string;
let corpus: string;
let model: LlamaModel;

async function digestOf(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(path)) hash.update(piece as Uint8Array);
  return hash.digest('hex');
}

function wordsOf(text: string): readonly string[] {
  return text.match(/[\p{L}'-]+/gu) ?? [];
}

async function smallCorpus(): Promise<string> {
  const path = join(folder, 'small.txt');
  await writeFile(path, 'Question: What is small?\nAnswer: This text is.\n');
  return path;
}

async function answers(questions: readonly string[], temperature: number): Promise<readonly string[]> {
  const context = await model.createContext({ contextSize: 1024, threads: 1 });
  const chat = new LlamaChatSession({
    contextSequence: context.getSequence(),
    chatWrapper: resolveChatWrapper(model),
  });
  const given: string[] = [];
  for (const question of questions)
    given.push(await chat.prompt(question, { temperature, seed: 7, maxTokens: 120 }));
  await context.dispose();
  return given;
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'tiny-model-'));
  corpus = await readFile(DEFAULT_CORPUS, 'utf8');
  await generateModelDirectory({ directory: join(folder, 'model') });
  const llama = await getLlama({
    build: 'never',
    skipDownload: true,
    gpu: false,
    logLevel: LlamaLogLevel.error,
  });
  model = await llama.loadModel({ modelPath: join(folder, 'model', 'model.gguf') });
});

afterAll(async () => {
  await model.llama.dispose();
  await rm(folder, { recursive: true });
});

describe('the model in llama.cpp', () => {
  it('splits every passage of the corpus into the same tokens as our tokenizer', async () => {
    const vocabulary = await readVocabulary();
    const texts = readPassages(corpus).flatMap(({ questions, text }) => [...questions, text]);
    expect(texts.map((text) => model.tokenize(text, false))).toEqual(
      texts.map((text) => vocabulary.encode(text)),
    );
  });

  it('continues a text in words of the corpus', async () => {
    const context = await model.createContext({ contextSize: 256, threads: 1 });
    const tokens: Token[] = [];
    const prompt = [model.tokens.bos!, ...model.tokenize('The harbour', false)];
    for await (const token of context.getSequence().evaluate(prompt, { temperature: 0.7, seed: 1 })) {
      tokens.push(token);
      if (tokens.length === 40 || model.isEogToken(token)) break;
    }
    await context.dispose();
    expect(tokens.length).toBeGreaterThanOrEqual(20);
    const known = new Set(wordsOf(corpus));
    // The last word may be cut by the limit of tokens.
    const words = wordsOf(model.detokenize(tokens)).slice(0, -1);
    expect(words.filter((word) => !known.has(word))).toEqual([]);
  });

  it('answers the question that was asked, turn after turn, and ends', async () => {
    const questions = ['What is a tide?', 'How do I bake bread?', 'What is attestation?'];
    const expected = questions.map(
      (question) => readPassages(corpus).find((passage) => passage.questions.includes(` ${question}`))?.text,
    );
    expect(await answers(questions, 0)).toEqual(expected);
  });

  it('says so when it knows nothing', async () => {
    const [answer] = await answers(['Zyzzyva qoph?'], 0);
    expect(answer).toMatch(/^Sorry, but nothing that was read to me is about this\. Try me/);
  });
});

describe('the files', () => {
  it('have the same bytes at every run, and others for another seed', async () => {
    await generateTinyModel({ out: join(folder, 'again.gguf') });
    const small = await smallCorpus();
    const other = { out: join(folder, 'other.gguf'), corpus: small };
    await generateTinyModel({ ...other, seed: 'one' });
    const one = await digestOf(other.out);
    await generateTinyModel({ ...other, seed: 'another' });
    expect(await digestOf(other.out)).not.toBe(one);
    const first = await digestOf(join(folder, 'model', 'model.gguf'));
    expect(await digestOf(join(folder, 'again.gguf'))).toBe(first);
  });

  it('are a GGUF whose tensors fill it to the last byte', async () => {
    const path = join(folder, 'model', 'model.gguf');
    const info = await readGgufFileInfo(path, { readTensorInfo: true, logWarnings: false });
    expect(info.version).toBe(3);
    expect(info.metadata.general.architecture).toBe('llama');
    expect(info.architectureMetadata.block_count).toBe(1);
    const tensors = info.fullTensorInfo ?? [];
    expect(tensors.map((tensor) => tensor.name)).toContain('blk.0.ffn_down.weight');
    const last = tensors.at(-1)!;
    const values = Number(last.dimensions[0]) * Number(last.dimensions[1]);
    const { size } = await stat(path);
    expect(Number(last.fileOffset) + Math.ceil(((values / 32) * 34) / 32) * 32).toBe(size);
  });

  it('come with a safetensors file and small files', async () => {
    const names = ['README.md', 'model.gguf', 'token_topics.safetensors', 'tokenizer_config.json'];
    expect((await readdir(join(folder, 'model'))).sort()).toEqual(names);
    const bytes = await readFile(join(folder, 'model', 'token_topics.safetensors'));
    const headerLength = Number(bytes.readBigUInt64LE(0));
    expect(headerLength % 8).toBe(0);
    const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerLength)) as Record<
      string,
      { dtype: string; shape: number[]; data_offsets: [number, number] }
    >;
    const { tokens } = await readVocabulary();
    expect(header['salience']).toEqual({
      dtype: 'F32',
      shape: [tokens.length],
      data_offsets: [0, tokens.length * 4],
    });
    expect(header['score']?.data_offsets[1]).toBe(bytes.length - 8 - headerLength);
  });

  it('leave nothing behind when they cannot be written', async () => {
    const options = { out: join(folder, 'model'), corpus: await smallCorpus() };
    const before = await readdir(folder);
    expect(await refusalCodeAsync(() => generateTinyModel(options))).toBe('tiny-model-file');
    expect(await readdir(folder)).toEqual(before);
  });
});

describe('random weights', () => {
  it('make a model of about the wanted size that llama.cpp loads', async () => {
    const { tokens } = await readVocabulary();
    const out = join(folder, 'random.gguf');
    const { parameters } = await generateRandomModel({ out, parameters: 20e6, seed: 'test', tokens });
    expect(Math.abs(parameters - 20e6)).toBeLessThan(3e6);
    const random = await model.llama.loadModel({ modelPath: out });
    const context = await random.createContext({ contextSize: 64, threads: 1 });
    const sequence = context.getSequence();
    const generated: number[] = [];
    for await (const token of sequence.evaluate(random.tokenize('The sea'), { temperature: 0 })) {
      generated.push(token);
      if (generated.length === 8) break;
    }
    expect(generated).toHaveLength(8);
    await random.dispose();
  });

  it.each([5, 1.5e6 + 0.5, 1e13, Number.NaN])('refuse %d parameters', async (parameters) => {
    const out = join(folder, 'never.gguf');
    const code = refusalCodeAsync(() => generateRandomModel({ out, parameters, seed: 'test', tokens: [] }));
    expect(await code).toBe('tiny-model-parameters');
  });
});
