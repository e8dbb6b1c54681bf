/**
 * Runs a folder of test vectors: what its manifest says must come out, beside what this project makes of it. A class of
 * vectors is one module that knows the form of a manifest (vector-classes.ts); nothing knows a vector by its name, so
 * that any folder of the same form can be run.
 */

import type { VectorFolder } from './vector-folder.ts';

/** What came of one vector, or of one mutation of it. */
export interface VectorLine {
  /** Identifier of the vector, and after `~` that of the mutation. */
  readonly subject: string;
  readonly expected: string;
  readonly got: string;
  /** Codes of the refusals, `-` when there was none. */
  readonly code: string;
  readonly agrees: boolean;
  /** Why it is right that the two differ; such a line is no disagreement. */
  readonly explanation?: string;
}

export interface VectorClass {
  /** Name on the command line and of the folder of shared vectors. */
  readonly name: string;
  /** Goes through the manifest. @throws Error when the manifest is not of this class's form */
  judge(folder: VectorFolder): AsyncIterable<VectorLine>;
}

export interface VectorRun {
  readonly lines: number;
  readonly explained: number;
  /** The first line that disagrees without an explanation; the run ended there. */
  readonly disagreement: VectorLine | undefined;
}

/** Judges until the end or the first disagreement that has no explanation, one printed line each. */
export async function runVectors(
  vectorClass: VectorClass,
  folder: VectorFolder,
  print: (line: string) => void,
): Promise<VectorRun> {
  let lines = 0;
  let explained = 0;
  for await (const line of vectorClass.judge(folder)) {
    lines += 1;
    print(formatLine(line));
    if (line.agrees) continue;
    if (line.explanation === undefined) return { lines, explained, disagreement: line };
    explained += 1;
  }
  return { lines, explained, disagreement: undefined };
}

function formatLine({ subject, expected, got, code, agrees, explanation }: VectorLine): string {
  const mark = agrees ? 'agrees' : explanation === undefined ? 'DIFFERS' : 'explained';
  const why = explanation === undefined ? [] : [explanation];
  return [mark, subject, `expected ${expected}`, `got ${got}`, code, ...why].join('\t');
}
