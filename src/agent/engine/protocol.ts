/** The messages between agent and engine. Neither side trusts the other: both check what they read. */

import { z } from 'zod';

/** Room for the longest prompt that a policy can allow, escaped as JSON at the worst. */
export const MAX_REQUEST_FRAME_BYTES = 128 * 1024 * 1024;
/** An answer comes in small pieces. */
export const MAX_ANSWER_FRAME_BYTES = 256 * 1024;

/** Descriptors that the engine process is started with. */
export const CHANNEL_DESCRIPTOR = 3;
export const WEIGHTS_DESCRIPTOR = 4;

const requestNumber = z.int().nonnegative();
const tokens = z.int().nonnegative();

export const toEngineSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('start'),
    contextTokens: z.int().min(64),
    threads: z.int().min(1).max(1024),
    slots: z.int().min(1).max(64),
    gpu: z.boolean(),
  }),
  z.strictObject({
    kind: z.literal('generate'),
    request: requestNumber,
    messages: z.array(z.strictObject({ role: z.enum(['system', 'user', 'assistant']), content: z.string() })),
    completionTokens: z.int().positive(),
    temperature: z.number().min(0).max(2),
    topProbability: z.number().min(0).max(1),
    seed: z.int().min(0).max(0xffffffff).optional(),
    stop: z.array(z.string().min(1)).max(16),
  }),
  z.strictObject({ kind: z.literal('cancel'), request: requestNumber }),
]);

export const fromEngineSchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('ready'),
    contextTokens: z.int().positive(),
    ownChatTemplate: z.boolean(),
    confinement: z.strictObject({
      coreLimitBytes: z.number().nonnegative(),
      dumpable: z.boolean(),
      noNewPrivileges: z.boolean(),
      parentDeathSignal: z.int().nonnegative(),
      seccompFilters: z.int().nonnegative(),
      openRings: z.int().nonnegative(),
    }),
  }),
  // Only before `ready`, when the engine has not seen any prompt.
  z.strictObject({ kind: z.literal('failed'), detail: z.string().max(1000) }),
  z.strictObject({ kind: z.literal('text'), request: requestNumber, text: z.string() }),
  z.strictObject({
    kind: z.literal('end'),
    request: requestNumber,
    reason: z.enum(['stop', 'length']),
    promptTokens: tokens,
    completionTokens: tokens,
  }),
  z.strictObject({
    kind: z.literal('rejected'),
    request: requestNumber,
    reason: z.enum(['prompt-too-long', 'generation-failed', 'cancelled']),
  }),
]);

export type ToEngine = z.infer<typeof toEngineSchema>;
export type FromEngine = z.infer<typeof fromEngineSchema>;
export type StartMessage = Extract<ToEngine, { kind: 'start' }>;
export type GenerateMessage = Extract<ToEngine, { kind: 'generate' }>;
