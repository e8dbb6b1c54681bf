/**
 * A llama transformer of one layer whose weights are written down, not learned. docs/decisions/0060 tells why.
 *
 * The residual stream is cut into fields:
 *
 *   current    code of the current token            (embedding)
 *   previous   codes of the three tokens before it  (attention heads 0 to 2)
 *   topic      how much the conversation is about each passage  (attention head 3)
 *   salience   how telling the current token is     (embedding)
 *   constant   one large number: makes biases possible, and keeps the RMS norm the same for every token
 *
 * A hidden unit of the feed-forward network is one rule. Its gate is the product of the rule's codes with the fields
 * `current` and `previous`, less a threshold that only all of its tokens together pass; its other factor is 1, or by
 * how much the topic is the rule's passage above the mean of all passages. Its output is the sum of the successors' output codes, each as strong as
 * the rule's logit, written over all fields but the constant: nobody reads them after it.
 */

import { type Codes, makeCodes, makeSeparatedCodes } from './codes.ts';
import type { TensorShape } from './gguf.ts';
import { LONGEST_CONTEXT, type Rule } from './ngrams.ts';
import type { TokenTopic } from './topics.ts';

const CODE_WIDTH = 128;
export const HEADS = 4;
const HEAD_WIDTH = 192;
export const WIDTH = HEADS * HEAD_WIDTH;
export const ROPE_BASE = 10_000;
export const CONTEXT_TOKENS = 4096;

/** The topic head carries one number for each passage. */
export const MAXIMUM_PASSAGES = HEAD_WIDTH;

/** First dimension of each field. `constant` ends at WIDTH; what stands before it is free for the output. */
const FIELD = { current: 0, topic: 512, salience: 704, constant: 736 } as const;
const CONSTANT_WIDTH = WIDTH - FIELD.constant;
const OUTPUT_WIDTH = FIELD.constant;

/** Two codes agree by at most a third, so a rule with one wrong token stays well under its threshold. */
const MAXIMUM_CODE_PRODUCT = 42;
/** Height of the constant in the residual stream: its square outweighs all that the other fields can hold. */
const CONSTANT = 32_768;
/** RMS of the residual stream, to four digits the same at every place. */
const RMS = CONSTANT * Math.sqrt(CONSTANT_WIDTH / WIDTH);
/** The embedding carries a token's topic so faintly that the average which the head adds drowns it. */
const FAINT = 1 / 256;
/** Output codes stand this far above what the fields held before them. */
const OUTPUT_HEIGHT = 16;
/** Steepness of a rule's gate: a full match gives half of it, and SiLU sends half of it below zero to nothing. */
const GATE = 64;

/** Softmax logit by which the wanted distance stands above its neighbours in a previous-token head. */
const PREVIOUS_TOKEN_LOGIT = 24;
/** Weight of a token in the topic is its inverse document frequency to this power. */
const SALIENCE_POWER = 1.2;
/** Weight of a token in the topic falls with this power of its distance, beyond RECENT_TOKENS. */
const RECENCY_POWER = 5;
const RECENT_TOKENS = 7;

/** Adds a tensor's values of one row to a row of zeros. */
type FillRow = (row: Float32Array, index: number) => void;

export interface Tensor extends TensorShape {
  readonly fill: FillRow;
}

export interface Construction {
  readonly topics: readonly TokenTopic[];
  readonly rules: readonly Rule[];
  readonly seed: string;
}

/** Hidden units of the network: one for each rule, filled up to whole blocks of 32. */
export function hiddenWidth(rules: readonly Rule[]): number {
  return Math.ceil(rules.length / 32) * 32;
}

/** All tensors in the order of the file. */
export function constructTensors({ topics, rules, seed }: Construction): readonly Tensor[] {
  const tokens = topics.length;
  const codes = makeSeparatedCodes(`${seed}/token`, tokens, CODE_WIDTH, MAXIMUM_CODE_PRODUCT);
  const outputs = makeCodes(`${seed}/output`, tokens, OUTPUT_WIDTH);
  const hidden = hiddenWidth(rules);
  return [
    matrix('token_embd', tokens, WIDTH, embedding(codes, topics)),
    ...attentionTensors(),
    vector('blk.0.ffn_norm', fillNorm(1)),
    matrix('blk.0.ffn_gate', hidden, WIDTH, gate(codes, rules)),
    matrix('blk.0.ffn_up', hidden, WIDTH, factor(rules, passagesOf(rules))),
    matrix('blk.0.ffn_down', WIDTH, hidden, down(outputs, rules)),
    vector('output_norm', fillOutputNorm),
    matrix('output', tokens, WIDTH, (row, token) => {
      for (let i = 0; i < OUTPUT_WIDTH; i += 1) row[i] = signOf(outputs, token, i) / OUTPUT_WIDTH;
    }),
  ];
}

function matrix(name: string, rows: number, columns: number, fill: FillRow): Tensor {
  return { name: `${name}.weight`, type: 'q8_0', rows, columns, fill };
}

function vector(name: string, fill: FillRow): Tensor {
  return { name: `${name}.weight`, type: 'f32', rows: 1, columns: WIDTH, fill };
}

function signOf(codes: Codes, token: number, dimension: number): number {
  return codes.signs[token * codes.dimensions + dimension] ?? 0;
}

function embedding(codes: Codes, topics: readonly TokenTopic[]): FillRow {
  return (row, token) => {
    for (let i = 0; i < CODE_WIDTH; i += 1) row[FIELD.current + i] = signOf(codes, token, i);
    for (const [passage, share] of topics[token]?.shares ?? []) row[FIELD.topic + passage] = FAINT * share;
    row[FIELD.salience] = topics[token]?.salience ?? 0;
    row.fill(CONSTANT, FIELD.constant);
  };
}

/** A norm that undoes the division by the RMS: codes come out as ±1, shares as shares, the constant as 1. */
function fillNorm(topicHeight: number): FillRow {
  return (row) => {
    row.fill(RMS);
    row.fill(RMS / topicHeight, FIELD.topic, FIELD.topic + MAXIMUM_PASSAGES);
    row.fill(RMS / CONSTANT, FIELD.constant);
  };
}

function fillOutputNorm(row: Float32Array): void {
  row.fill(RMS / OUTPUT_HEIGHT, 0, OUTPUT_WIDTH);
}

/** Sets the weights by which a row reads a value from the constant. */
function setBias(row: Float32Array, value: number): void {
  row.fill(value / CONSTANT_WIDTH, FIELD.constant);
}

function attentionTensors(): readonly Tensor[] {
  const perHead = (
    previous: (row: Float32Array, distance: number, i: number) => void,
    topic: FillRow,
  ): FillRow => {
    return (row, index) => {
      const head = Math.floor(index / HEAD_WIDTH);
      if (head === HEADS - 1) topic(row, index % HEAD_WIDTH);
      else previous(row, head + 1, index % HEAD_WIDTH);
    };
  };
  return [
    vector('blk.0.attn_norm', fillNorm(FAINT)),
    matrix('blk.0.attn_q', WIDTH, WIDTH, perHead(previousQuery, topicQuery)),
    matrix('blk.0.attn_k', WIDTH, WIDTH, perHead(previousKey, topicKey)),
    matrix('blk.0.attn_v', WIDTH, WIDTH, perHead(previousValue, topicValue)),
    matrix('blk.0.attn_output', WIDTH, WIDTH, attentionOutput),
  ];
}

/** Angle by which RoPE turns a pair of dimensions from one position to the next. */
function ropeAngle(pair: number): number {
  return ROPE_BASE ** ((-2 * pair) / HEAD_WIDTH);
}

const PAIRS = Array.from({ length: HEAD_WIDTH / 2 }, (_, pair) => pair);

/**
 * With queries and keys that are the same at every position, only RoPE is left: the score is a sum of cosines of the
 * distance, and turning the query back by `distance` steps moves its peak there.
 */
const PREVIOUS_AMPLITUDE = Math.sqrt(
  (PREVIOUS_TOKEN_LOGIT * Math.sqrt(HEAD_WIDTH)) /
    PAIRS.reduce((drop, pair) => drop + 1 - Math.cos(ropeAngle(pair)), 0),
);

function previousQuery(row: Float32Array, distance: number, index: number): void {
  const angle = -distance * ropeAngle(index >> 1);
  setBias(row, PREVIOUS_AMPLITUDE * (index % 2 === 0 ? Math.cos(angle) : Math.sin(angle)));
}

function previousKey(row: Float32Array, _distance: number, index: number): void {
  if (index % 2 === 0) setBias(row, PREVIOUS_AMPLITUDE);
}

function previousValue(row: Float32Array, _distance: number, index: number): void {
  if (index < CODE_WIDTH) row[FIELD.current + index] = 1;
}

/** The slowest pair hardly turns at all, so it can carry the salience over any distance. */
const SALIENCE_INDEX = HEAD_WIDTH - 2;

/**
 * Cosines of evenly spaced logarithms of the frequency add up to a logarithm of the distance, which softmax turns
 * into a power: the number of pairs in one step of e times their amplitude is that power.
 */
const RECENCY_AMPLITUDE = Math.sqrt(
  (RECENCY_POWER * Math.sqrt(HEAD_WIDTH) * 2 * Math.log(ROPE_BASE)) / HEAD_WIDTH,
);

function isRecencyIndex(index: number): boolean {
  return index % 2 === 0 && index !== SALIENCE_INDEX && ropeAngle(index >> 1) < 1 / RECENT_TOKENS;
}

function topicQuery(row: Float32Array, index: number): void {
  if (index === SALIENCE_INDEX) setBias(row, SALIENCE_POWER * Math.sqrt(HEAD_WIDTH));
  if (isRecencyIndex(index)) setBias(row, RECENCY_AMPLITUDE);
}

function topicKey(row: Float32Array, index: number): void {
  if (index === SALIENCE_INDEX) row[FIELD.salience] = 1;
  if (isRecencyIndex(index)) setBias(row, RECENCY_AMPLITUDE);
}

function topicValue(row: Float32Array, index: number): void {
  row[FIELD.topic + index] = 1;
}

function attentionOutput(row: Float32Array, dimension: number): void {
  const code = Math.floor(dimension / CODE_WIDTH);
  if (code > 0 && code < LONGEST_CONTEXT) row[(code - 1) * HEAD_WIDTH + (dimension % CODE_WIDTH)] = 1;
  const passage = dimension - FIELD.topic;
  if (passage >= 0 && passage < MAXIMUM_PASSAGES) row[(HEADS - 1) * HEAD_WIDTH + passage] = 1;
}

function gate(codes: Codes, rules: readonly Rule[]): FillRow {
  return (row, unit) => {
    const tokens = rules[unit]?.tokens;
    if (tokens === undefined) return;
    for (const [distance, token] of tokens.toReversed().entries()) {
      for (let i = 0; i < CODE_WIDTH; i += 1) {
        row[distance * CODE_WIDTH + i] = (GATE / CODE_WIDTH) * signOf(codes, token, i);
      }
    }
    setBias(row, -GATE * (tokens.length - 1 / 2));
  };
}

function passagesOf(rules: readonly Rule[]): number {
  return new Set(rules.flatMap(({ passage }) => passage ?? [])).size;
}

function factor(rules: readonly Rule[], passages: number): FillRow {
  return (row, unit) => {
    const rule = rules[unit];
    if (rule === undefined) return;
    if (rule.passage === undefined) {
      setBias(row, 1);
    } else {
      row[FIELD.topic + rule.passage] = 1;
      // Less the mean, so that a word with which many passages begin gains nothing from their number.
      setBias(row, -1 / passages);
    }
  };
}

/** What all rules add to all logits, one entry after another: the loop over it runs for every dimension. */
function flatten(rules: readonly Rule[]): { units: Uint32Array; tokens: Uint32Array; logits: Float32Array } {
  const entries = rules.flatMap(({ logits }, unit) =>
    Array.from(logits, ([token, logit]) => [unit, token, logit] as const),
  );
  return {
    units: Uint32Array.from(entries, ([unit]) => unit),
    tokens: Uint32Array.from(entries, ([, token]) => token),
    logits: Float32Array.from(entries, ([, , logit]) => logit),
  };
}

function down(outputs: Codes, rules: readonly Rule[]): FillRow {
  const { units, tokens, logits } = flatten(rules);
  const height = OUTPUT_HEIGHT / (GATE / 2);
  const signs = new Int8Array(outputs.signs.length / OUTPUT_WIDTH);
  return (row, dimension) => {
    if (dimension >= OUTPUT_WIDTH) return;
    for (let token = 0; token < signs.length; token += 1) signs[token] = signOf(outputs, token, dimension);
    for (let i = 0; i < units.length; i += 1) {
      const unit = units[i] ?? 0;
      row[unit] = (row[unit] ?? 0) + height * (logits[i] ?? 0) * (signs[tokens[i] ?? 0] ?? 0);
    }
  };
}
