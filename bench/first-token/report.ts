/** The table of an agent's way to its first token. */

import { spreadOf } from '../support/statistics.ts';
import { formatTable, type Column } from '../support/table.ts';
import { STEPS, type AgentRun, type PlainRun, type Step } from './steps.ts';

/** All runs that count. Times in milliseconds. */
export interface Found {
  readonly modelBytes: number;
  readonly runs: {
    readonly agent: readonly AgentRun[];
    readonly start: readonly number[];
    readonly plain: readonly PlainRun[];
  };
}

const COLUMNS: readonly Column[] = [
  { title: '', align: 'left' },
  { title: 'ms', align: 'right' },
  { title: 'least..greatest', align: 'right' },
  { title: 'share', align: 'right' },
  { title: '', align: 'left' },
];

/** What happens in a step. */
const MEANINGS: Readonly<Record<Step, string>> = {
  attest: 'start of the program, profile, bundle, TPM, credential activation',
  key: 'challenge, quote, request, decision in the log, its proof, the key opened',
  unseal: 'ciphertext of the page cache into memory',
  load: 'the engine process starts, is confined and maps the weights',
  serve: 'the inference interface listens',
  'first token': 'an answer of one token, through the guard',
  whole: 'from the start of the program',
};

export function describeTimes({ modelBytes, runs: { agent, start, plain } }: Found): string {
  const whole = spreadOf(agent.map(({ steps }) => steps.whole)).median;
  const steps = STEPS.map((step) => {
    const times = agent.map((run) => run.steps[step]);
    const rate = modelBytes / 1e6 / spreadOf(times).median;
    const meaning = step === 'unseal' ? `${MEANINGS[step]}, ${rate.toFixed(2)} GB/s` : MEANINGS[step];
    const share = `${((100 * spreadOf(times).median) / whole).toFixed(0)} %`;
    return line(`  ${step}`, times, share, meaning);
  });
  const heldBack = agent.flatMap((run) => run.heldBack ?? []);
  const beside = [
    line('  start', start, '', 'weightgate --version: what of "attest" is the start of the program'),
    line(
      '  load, plain',
      plain.map(({ load }) => load),
      '',
      'the same engine on the same model in a plain file',
    ),
    line(
      '  token, plain',
      plain.map(({ firstToken }) => firstToken),
      '',
      'an answer of one token there, without guard',
    ),
    ...(heldBack.length === 0
      ? []
      : [line('  held back', heldBack, '', 'first text of a long answer, after what the guard holds back')]),
  ];
  return formatTable(COLUMNS, [['agent run:'], ...steps, ['beside:'], ...beside]);
}

function line(name: string, times: readonly number[], share: string, meaning: string): readonly string[] {
  const { median, least, greatest } = spreadOf(times);
  return [name, median.toFixed(0), `${least.toFixed(0)}..${greatest.toFixed(0)}`, share, meaning];
}
