/**
 * Processors by CPUID (AMD 57230, and the models' processor programming references). A family or model that is not in
 * the table is unknown: it never falls into the rules of a neighbour, because the TCB layout of a later generation
 * differs (family 1Ah from model 50h on, for example, has no boot loader component).
 */

import { defineRefusals } from '../core/refusal.ts';
import type { Cpuid } from './layout.ts';

export const productRefusals = defineRefusals('unacceptable', {
  'snp-product-unknown': {
    means: 'The report is of a processor that this release does not know.',
    hint: 'Update the verifier; a processor without known rules is never accepted.',
  },
});

/** A line of products shares one hierarchy of AMD's keys; the name is that of its key server and root. */
export const PRODUCT_LINES = ['Milan', 'Genoa', 'Turin'] as const;
export type ProductLine = (typeof PRODUCT_LINES)[number];

interface Models {
  readonly family: number;
  readonly models: readonly [first: number, last: number];
  readonly line: ProductLine;
}

const TABLE: readonly Models[] = [
  { family: 0x19, models: [0x00, 0x0f], line: 'Milan' },
  { family: 0x19, models: [0x10, 0x1f], line: 'Genoa' },
  // Bergamo and Siena: certified by the keys of Genoa.
  { family: 0x19, models: [0xa0, 0xaf], line: 'Genoa' },
  { family: 0x1a, models: [0x00, 0x11], line: 'Turin' },
];

/** The line that a processor belongs to. @throws RefusalError `snp-product-unknown` */
export function productLineOf({ family, model }: Cpuid, path: string): ProductLine {
  const known = TABLE.find(
    ({ family: its, models: [first, last] }) => its === family && model >= first && model <= last,
  );
  if (known !== undefined) return known.line;
  throw productRefusals.error('snp-product-unknown', {
    field: path,
    expected: TABLE.map(({ family: its, models: [first, last] }) => showModels(its, first, last)).join(', '),
    found: showModels(family, model, model),
  });
}

function showModels(family: number, first: number, last: number): string {
  const models = first === last ? hexByte(first) : `${hexByte(first)}-${hexByte(last)}`;
  return `family ${hexByte(family)} model ${models}`;
}

function hexByte(value: number): string {
  return `${value.toString(16).padStart(2, '0').toUpperCase()}h`;
}

/** Key of a processor in tables of minima: microcode levels of different steppings have different scales. */
export function cpuidText({ family, model, stepping }: Cpuid): string {
  return [family, model, stepping].map((part) => part.toString(16).padStart(2, '0')).join('-');
}
