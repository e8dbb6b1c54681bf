/**
 * The part of node-llama-cpp 3.22 that this project uses, declared by hand: the package's own declarations do not
 * type-check under `skipLibCheck: false`. What is not declared here, such as adapters, embeddings, logits and state
 * files, cannot be used by accident.
 */

declare module 'node-llama-cpp' {
  export type Token = number & { readonly __token: never };
  export type Tokenizer = (text: string, specialTokens?: boolean) => Token[];

  export enum LlamaLogLevel {
    disabled = 'disabled',
    error = 'error',
  }

  export interface LlamaOptions {
    readonly build: 'never';
    readonly skipDownload: true;
    readonly gpu: 'auto' | false;
    readonly maxThreads?: number;
    readonly logLevel: LlamaLogLevel;
    readonly progressLogs?: boolean;
  }
  export function getLlama(options: LlamaOptions): Promise<Llama>;

  export interface Llama {
    loadModel(options: { modelPath: string; useMmap?: boolean; useMlock?: boolean }): Promise<LlamaModel>;
    dispose(): Promise<void>;
  }

  export interface LlamaModel {
    readonly llama: Llama;
    readonly tokenizer: Tokenizer;
    readonly tokens: { readonly bos: Token | null };
    readonly fileInfo: { readonly metadata: { readonly tokenizer: { readonly chat_template?: string } } };
    tokenize(text: string, specialTokens?: boolean): Token[];
    detokenize(tokens: readonly Token[]): string;
    isEogToken(token: Token): boolean;
    createContext(options: {
      contextSize: number;
      sequences?: number;
      threads: number;
    }): Promise<LlamaContext>;
    dispose(): Promise<void>;
  }

  export interface LlamaContext {
    readonly contextSize: number;
    getSequence(): LlamaContextSequence;
    dispose(): Promise<void>;
  }

  interface TokenMeterState {
    readonly usedInputTokens: number;
    readonly usedOutputTokens: number;
  }

  export interface LlamaContextSequence {
    readonly contextSize: number;
    readonly tokenMeter: {
      getState(): TokenMeterState;
      diff(before: TokenMeterState): TokenMeterState;
    };
    evaluate(
      tokens: readonly Token[],
      options: { temperature: number; seed?: number },
    ): AsyncGenerator<Token>;
    clearHistory(): Promise<void>;
  }

  export type ChatHistoryItem =
    | { readonly type: 'system'; readonly text: string }
    | { readonly type: 'user'; readonly text: string }
    | { readonly type: 'model'; readonly response: string[] };

  export interface ChatWrapper {
    generateContextState(options: { chatHistory: ChatHistoryItem[] }): {
      readonly contextText: { tokenize(tokenizer: Tokenizer): Token[] };
    };
  }
  export function resolveChatWrapper(model: LlamaModel, options?: { warningLogs: boolean }): ChatWrapper;

  interface ChatOptions {
    readonly contextSequence: LlamaContextSequence;
    readonly chatWrapper: ChatWrapper;
  }

  interface ResponseOptions {
    readonly maxTokens: number;
    readonly temperature: number;
    readonly topP: number;
    readonly topK: number;
    readonly seed: number;
    readonly repeatPenalty: false;
    readonly customStopTriggers: readonly string[];
    readonly contextShift: { readonly size: number };
    readonly signal: AbortSignal;
    readonly stopOnAbortSignal: boolean;
    readonly onTextChunk: (text: string) => void;
  }

  export class LlamaChat {
    constructor(options: ChatOptions);
    readonly sequence: LlamaContextSequence;
    generateResponse(
      history: ChatHistoryItem[],
      options: ResponseOptions,
    ): Promise<{ readonly metadata: { readonly stopReason: string } }>;
  }

  export class LlamaChatSession {
    constructor(options: ChatOptions);
    prompt(text: string, options: { temperature: number; seed: number; maxTokens: number }): Promise<string>;
  }

  interface GgufFileInfo {
    readonly version: number;
    readonly metadata: { readonly general: { readonly architecture: string } };
    readonly architectureMetadata: { readonly block_count: number };
    readonly fullTensorInfo?: readonly {
      readonly name: string;
      readonly dimensions: readonly (number | bigint)[];
      readonly ggmlType: number;
      readonly offset: number | bigint;
      readonly fileOffset: number | bigint;
    }[];
  }
  export function readGgufFileInfo(
    path: string,
    options: { readTensorInfo: boolean; logWarnings: boolean },
  ): Promise<GgufFileInfo>;
}
