/** The operations by which a manifest of NVIDIA vectors makes mutants, as it writes them. */

import { z } from 'zod';

const text = z.string();
const jsonRecord = z.record(text, z.unknown());
const at = { file: text };
const hex = text.regex(/^(?:[0-9a-f]{2})+$/);
const offset = z.number().int().nonnegative();
export const operationShape = z.discriminatedUnion('op', [
  z.strictObject({ op: z.literal('xor'), ...at, offset, hex }),
  z.strictObject({ op: z.literal('write'), ...at, offset, hex }),
  z.strictObject({ op: z.literal('truncate'), ...at, length: offset }),
  z.strictObject({ op: z.literal('append'), ...at, hex }),
  z.strictObject({ op: z.literal('text_replace'), ...at, find: text.min(1), replace: text }),
  z.strictObject({
    op: z.literal('replace_file'),
    ...at,
    from: z.strictObject({ vector: text, file: text }),
  }),
  z.strictObject({ op: z.literal('context'), name: text, value: z.unknown() }),
  z.strictObject({ op: z.literal('pem_delete'), ...at, index: offset }),
  z.strictObject({ op: z.literal('pem_swap'), ...at, i: offset, j: offset }),
  z.strictObject({ op: z.literal('pem_reverse'), ...at }),
  z.strictObject({ op: z.literal('pem_duplicate'), ...at, index: offset }),
  z.strictObject({
    op: z.literal('pem_replace'),
    ...at,
    index: offset,
    from: z.union([
      z.strictObject({ path: text }),
      z.strictObject({ vector: text, file: text, index: offset }),
    ]),
  }),
  z.strictObject({ op: z.literal('der_xor'), ...at, index: offset, offset, hex }),
  z.strictObject({ op: z.literal('set_copy'), ...at, from: offset, to: offset }),
  z.strictObject({ op: z.literal('set_delete'), ...at, index: offset }),
  z.strictObject({ op: z.literal('set_field'), ...at, index: offset, field: text, value: z.unknown() }),
  z.strictObject({ op: z.literal('set_swap'), ...at, i: offset, j: offset, field: text }),
  z.strictObject({
    op: z.literal('set_replace'),
    ...at,
    index: offset,
    arch: text,
    from: z.strictObject({ vector: text }),
  }),
  z.strictObject({ op: z.literal('json_set'), ...at, pointer: text, value: z.unknown() }),
  z.strictObject({ op: z.literal('json_delete'), ...at, pointer: text }),
  z.strictObject({
    op: z.literal('json_copy_from'),
    ...at,
    pointer: text,
    from: z.strictObject({ vector: text, file: text, pointer: text }),
  }),
  z.strictObject({
    op: z.literal('jwt_edit'),
    ...at,
    pointer: text,
    header: jsonRecord.optional(),
    payload: jsonRecord.optional(),
    signature: text.optional(),
  }),
]);
/** One edit of a file or of the context. */
export type Operation = z.infer<typeof operationShape>;
export type OperationOf<Name extends Operation['op']> = Extract<Operation, { op: Name }>;

/** The operations that are known: a manifest that speaks of another one cannot be run. */
export const OPERATION_NAMES: ReadonlySet<string> = new Set(
  operationShape.options.map(({ shape }) => shape.op.value),
);
