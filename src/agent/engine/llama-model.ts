/**
 * The model in llama.cpp, inside the engine process. Of all that the library offers, chat is used and nothing else: no
 * adapters, embeddings, logits or state files, and no template but the model's own.
 */

import { randomInt } from 'node:crypto';
import { open } from 'node:fs/promises';
import {
  getLlama,
  LlamaChat,
  LlamaLogLevel,
  resolveChatWrapper,
  type ChatHistoryItem,
  type ChatWrapper,
  type LlamaContext,
  type LlamaModel,
} from 'node-llama-cpp';
import type { EngineMessage } from './engine.ts';
import type { FromEngine, GenerateMessage, StartMessage } from './protocol.ts';

type EndMessage = Extract<FromEngine, { kind: 'end' | 'rejected' }>;
/** How an answer ended, without the number of its request. */
export type GenerationOutcome = EndMessage extends infer M
  ? M extends unknown
    ? Omit<M, 'request'>
    : never
  : never;

/** Tokens that the library keeps free at the end of a context before it would drop the beginning of the prompt. */
const CONTEXT_MARGIN_TOKENS = 8;

/** One conversation at a time; nothing of it stays for the next. */
type Slot = LlamaChat;

export class LlamaModelRunner {
  readonly contextTokens: number;
  readonly ownChatTemplate: boolean;
  private readonly model: LlamaModel;
  private readonly wrapper: ChatWrapper;
  private readonly free: Slot[];

  constructor(model: LlamaModel, context: LlamaContext, slots: number) {
    this.model = model;
    this.ownChatTemplate = model.fileInfo.metadata.tokenizer.chat_template !== undefined;
    this.wrapper = resolveChatWrapper(model, { warningLogs: false });
    this.contextTokens = context.contextSize;
    this.free = Array.from(
      { length: slots },
      () => new LlamaChat({ contextSequence: context.getSequence(), chatWrapper: this.wrapper }),
    );
  }

  /** Writes an answer piece by piece. The agent sends no more requests at once than there are slots. */
  async generate(
    message: GenerateMessage,
    signal: AbortSignal,
    onText: (text: string) => void,
  ): Promise<GenerationOutcome> {
    const slot = this.free.pop();
    if (slot === undefined) return { kind: 'rejected', reason: 'generation-failed' };
    try {
      return await this.generateIn(slot, message, signal, onText);
    } finally {
      await slot.sequence.clearHistory();
      this.free.push(slot);
    }
  }

  private async generateIn(
    slot: Slot,
    message: GenerateMessage,
    signal: AbortSignal,
    onText: (text: string) => void,
  ): Promise<GenerationOutcome> {
    const history = message.messages.map(historyItem);
    const promptTokens = this.countTokens(history);
    const room = slot.sequence.contextSize - promptTokens - CONTEXT_MARGIN_TOKENS;
    if (room <= 0) return { kind: 'rejected', reason: 'prompt-too-long' };
    const before = slot.sequence.tokenMeter.getState();
    const { metadata } = await slot.generateResponse(history, {
      maxTokens: Math.min(message.completionTokens, room),
      temperature: message.temperature,
      topP: message.topProbability,
      topK: 0,
      seed: message.seed ?? randomInt(2 ** 32),
      repeatPenalty: false,
      customStopTriggers: message.stop,
      contextShift: { size: 1 },
      signal,
      stopOnAbortSignal: true,
      onTextChunk: (text) => {
        if (text !== '') onText(text);
      },
    });
    const { usedOutputTokens } = slot.sequence.tokenMeter.diff(before);
    const reason = metadata.stopReason === 'maxTokens' ? 'length' : 'stop';
    return { kind: 'end', reason, promptTokens, completionTokens: usedOutputTokens };
  }

  private countTokens(history: readonly ChatHistoryItem[]): number {
    const { contextText } = this.wrapper.generateContextState({
      chatHistory: [...history, { type: 'model', response: [] }],
    });
    return contextText.tokenize(this.model.tokenizer).length;
  }
}

/** The library keeps the texts of messages apart from the marks of the template, so that a mark in a text is only text. */
function historyItem(message: EngineMessage): ChatHistoryItem {
  switch (message.role) {
    case 'system':
      return { type: 'system', text: message.content };
    case 'user':
      return { type: 'user', text: message.content };
    case 'assistant':
      return { type: 'model', response: [message.content] };
  }
}

/** The fixed beginning of a GGUF file: magic, version, counts of tensors and of metadata (ggml `docs/gguf.md`). */
const GGUF_HEADER_BYTES = 24;
const GGUF_VERSIONS: readonly number[] = [2, 3];

/** The library waits without end for the rest of a file that is shorter than a header, so this looks first. */
async function refuseForeignFile(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    const header = Buffer.alloc(GGUF_HEADER_BYTES);
    const { bytesRead } = await file.read(header, 0, header.length, 0);
    const known =
      header.toString('latin1', 0, 4) === 'GGUF' && GGUF_VERSIONS.includes(header.readUInt32LE(4));
    if (bytesRead < GGUF_HEADER_BYTES || !known) throw new Error('the file is no GGUF of version 2 or 3');
  } finally {
    await file.close();
  }
}

/** @param path of the weights; they are mapped; for some processors llama.cpp keeps repacked copies besides (GD-39) */
export async function loadLlamaModel(
  path: string,
  { threads, contextTokens, slots, gpu }: StartMessage,
): Promise<LlamaModelRunner> {
  await refuseForeignFile(path);
  const llama = await getLlama({
    build: 'never',
    skipDownload: true,
    gpu: gpu ? 'auto' : false,
    maxThreads: threads,
    logLevel: LlamaLogLevel.disabled,
    progressLogs: false,
  });
  const model = await llama.loadModel({ modelPath: path, useMmap: true, useMlock: false });
  const context = await model.createContext({ contextSize: contextTokens, sequences: slots, threads });
  return new LlamaModelRunner(model, context, slots);
}
