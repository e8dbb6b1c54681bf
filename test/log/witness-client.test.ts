import type { IncomingMessage, ServerResponse } from 'node:http';

import { describe, expect, it } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { openCheckpoint, type VerifiedCheckpoint } from '../../src/log/checkpoint.ts';
import { LogWitnesses } from '../../src/log/log-witnesses.ts';
import { Witness, type WitnessRecord } from '../../src/log/witness.ts';
import { WitnessClient, type WitnessReply } from '../../src/log/witness-client.ts';
import { parseWitnessPolicy } from '../../src/log/witness-policy.ts';
import { formatVerifierKey } from '../../src/log/verifier-key.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';
import { startKeyServer, type KeyServer } from '../support/key-server.ts';
import { testWitnessSigner, WitnessedLog } from './witness-log.ts';

const ORIGIN = 'log.example/evaluation';
const log = new WitnessedLog(ORIGIN);
const trust = { origin: ORIGIN, keys: [log.signer.key] };
const signer = testWitnessSigner('witness.example');
const SIZE = 'text/x.tlog.size';

async function checkpointOf(size: number): Promise<VerifiedCheckpoint> {
  return await openCheckpoint(await log.note(size), trust);
}

const prover = (size: number) => (from: bigint) => Promise.resolve(log.proof(Number(from), size));

type Answer = readonly [status: number, body: string, headers?: Readonly<Record<string, string>>];

/** A witness that answers as a test says; requests are kept. */
async function fakeWitness(
  answer: (body: string, count: number) => Answer | Promise<Answer>,
): Promise<{ readonly server: KeyServer; readonly bodies: string[] }> {
  const bodies: string[] = [];
  const handle = async (incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> => {
    let body = '';
    for await (const chunk of incoming.setEncoding('utf8')) body += chunk as string;
    bodies.push(body);
    const [status, text, headers = {}] = await answer(body, bodies.length);
    outgoing.writeHead(status, { 'content-type': 'text/plain', ...headers }).end(text);
  };
  const server = await startKeyServer((incoming, outgoing) => void handle(incoming, outgoing));
  return { server, bodies };
}

function clientOf({ options, clock }: KeyServer, keys = [signer.key]): WitnessClient {
  const { address, authorityCertificate, timeoutMilliseconds } = options;
  return new WitnessClient({
    url: `${address}/prefix/`,
    keys,
    authorityCertificate,
    timeoutMilliseconds,
    clock,
  });
}

/** A witness of ours behind the fake one. */
function realWitness(): Witness {
  const records = new Map<string, WitnessRecord>();
  return new Witness({
    signers: [signer],
    logs: [trust],
    state: {
      find: (origin) => records.get(origin),
      advance: (origin, _before, record) => void records.set(origin, record),
    },
    now: () => 1_760_000_000,
  });
}

async function answerOf(witness: Witness, body: string): Promise<Answer> {
  const { status, body: text, contentType } = await witness.addCheckpoint(toUtf8(body));
  return [status, text, { 'content-type': contentType }];
}

const codeOf = ({ refusal }: WitnessReply): string => refusal?.code ?? 'cosigned';

describe('asking a witness', () => {
  it('WT-16, WT-18: gets a line that verifies, and remembers what the witness has', async () => {
    const witness = realWitness();
    const { server, bodies } = await fakeWitness((body) => answerOf(witness, body));
    const client = clientOf(server);
    const reply = await client.ask(await checkpointOf(3), prover(3));
    expect(codeOf(reply)).toBe('cosigned');
    expect(reply.lines).toHaveLength(1);
    expect(codeOf(await client.ask(await checkpointOf(7), prover(7)))).toBe('cosigned');
    expect(bodies.map((body) => body.split('\n')[0])).toEqual(['old 0', 'old 3']);
    expect(server.asked).toEqual(['/prefix/add-checkpoint', '/prefix/add-checkpoint']);
    client.close();
  });

  it('WT-17: after a restart of the log it takes the size that the witness states', async () => {
    const witness = realWitness();
    await witness.addCheckpoint(await log.request(0, 5));
    const { server, bodies } = await fakeWitness((body) => answerOf(witness, body));
    const client = clientOf(server);
    expect(codeOf(await client.ask(await checkpointOf(8), prover(8)))).toBe('cosigned');
    expect(bodies.map((body) => body.split('\n')[0])).toEqual(['old 0', 'old 5']);
    client.close();
  });

  it('WT-17: conflicts end after three further requests', async () => {
    const { server, bodies } = await fakeWitness((_body, count) => [
      409,
      `${count}\n`,
      { 'content-type': SIZE },
    ]);
    const client = clientOf(server);
    expect(codeOf(await client.ask(await checkpointOf(9), prover(9)))).toBe('witness-answer');
    expect(bodies).toHaveLength(4);
    client.close();
  });

  it('WT-20: a witness that knows more than the log ever signed is an alarm', async () => {
    const { server } = await fakeWitness(() => [409, '10\n', { 'content-type': SIZE }]);
    const client = clientOf(server);
    expect(codeOf(await client.ask(await checkpointOf(9), prover(9)))).toBe('witness-inconsistent');
    client.close();
  });

  it.each<readonly [what: string, code: string, answer: Answer]>([
    ['400', 'witness-answer', [400, '']],
    ['403, also for an unknown log as old witnesses say it', 'witness-refuses', [403, '']],
    ['404', 'witness-refuses', [404, '']],
    ['409 without a size, as some say that the roots differ', 'witness-inconsistent', [409, '']],
    ['409 with a size of another type', 'witness-inconsistent', [409, '3\n']],
    ['409 with a size that is none', 'witness-inconsistent', [409, '03\n', { 'content-type': SIZE }]],
    ['409 with a size without a line feed', 'witness-inconsistent', [409, '3', { 'content-type': SIZE }]],
    ['413', 'witness-answer', [413, '']],
    ['422', 'witness-inconsistent', [422, '']],
    ['429', 'witness-unreachable', [429, '']],
    ['500', 'witness-unreachable', [500, '']],
    ['503', 'witness-unreachable', [503, '']],
    ['200 and nothing', 'witness-answer', [200, '']],
    ['200 and no line', 'witness-answer', [200, 'thank you\n']],
    ['200 and too much', 'witness-answer', [200, 'x'.repeat(70_000)]],
    ['a redirection', 'witness-answer', [302, '', { location: 'https://127.0.0.1:1/' }]],
  ])('WT-17: %s is %s', async (_what, code, answer) => {
    const { server } = await fakeWitness(() => answer);
    const client = clientOf(server);
    const reply = await client.ask(await checkpointOf(4), prover(4));
    expect(codeOf(reply)).toBe(code);
    expect(reply.lines).toEqual([]);
    client.close();
  });

  it('WT-18: lines of other keys, and lines that do not hold, are left out', async () => {
    const witness = realWitness();
    const stranger = testWitnessSigner('witness.example');
    const { server } = await fakeWitness(async (body) => {
      const [, line] = await answerOf(witness, body);
      const broken = line.replace(/.{6}=*\n$/, 'AAAAA=\n');
      return [200, `${broken}— mallory.example AAAAAAAAAAAA\n${line}${line}`];
    });
    const client = clientOf(server, [stranger.key]);
    const { lines } = await client.ask(await checkpointOf(4), prover(4));
    expect(lines).toHaveLength(1);
    client.close();
    const other = clientOf(server, [testWitnessSigner('another.example').key]);
    expect(codeOf(await other.ask(await checkpointOf(4), prover(4)))).toBe('witness-answer');
    other.close();
  });

  it('WT-17: a witness that asks to be left alone is, for as long as it says', async () => {
    const witness = realWitness();
    const { server, bodies } = await fakeWitness((body, count) =>
      count === 1 ? [503, '', { 'retry-after': '60' }] : answerOf(witness, body),
    );
    const client = clientOf(server);
    const ask = async () => codeOf(await client.ask(await checkpointOf(4), prover(4)));
    expect(await ask()).toBe('witness-unreachable');
    server.clock.advance(59_000);
    expect(await ask()).toBe('witness-unreachable');
    expect(bodies).toHaveLength(1);
    server.clock.advance(2000);
    expect(await ask()).toBe('cosigned');
    client.close();
  });

  it('WT-16: one that does not answer, or is not who it should be, is given up', async () => {
    const { server } = await fakeWitness(() => new Promise(() => undefined));
    const client = clientOf(server);
    expect(codeOf(await client.ask(await checkpointOf(4), prover(4)))).toBe('witness-unreachable');
    client.close();
    const { address, timeoutMilliseconds } = server.options;
    const distrusting = new WitnessClient({
      url: address,
      keys: [signer.key],
      timeoutMilliseconds,
      clock: server.clock,
    });
    expect(codeOf(await distrusting.ask(await checkpointOf(4), prover(4)))).toBe('witness-not-trusted');
    distrusting.close();
    for (const url of ['http://witness.example', 'https://witness.example/?a', 'witness.example']) {
      expect(refusalCode(() => new WitnessClient({ url, keys: [], clock: server.clock }))).toBe(
        'witness-address',
      );
    }
  });

  it('WT-16, WT-19: every address of a policy is asked once, and what is missing does not hold up the rest', async () => {
    const witness = realWitness();
    const good = await fakeWitness((body) => answerOf(witness, body));
    const bad = await fakeWitness(() => [500, '']);
    const second = testWitnessSigner('second.example');
    const key = (each: typeof signer) => formatVerifierKey(each.key);
    const text = [
      `witness a ${key(signer)} ${good.server.options.address}`,
      `witness b ${key(second)} ${good.server.options.address}`,
      `witness c ${key(testWitnessSigner('third.example'))} ${bad.server.options.address}`,
      `witness d ${key(testWitnessSigner('fourth.example'))}`,
      'quorum a',
    ].join('\n');
    const refused: string[] = [];
    const { authorityCertificate, timeoutMilliseconds, clock } = good.server.options;
    const witnesses = new LogWitnesses({
      policy: parseWitnessPolicy(text, 'policy'),
      authorityCertificate,
      timeoutMilliseconds,
      clock,
    });
    witnesses.onRefusal((_url, { code }) => refused.push(code));
    const checkpoint = await checkpointOf(4);
    const note = await witnesses.cosign(checkpoint, prover(4));
    expect(note.startsWith(checkpoint.note)).toBe(true);
    expect(note.slice(checkpoint.note.length)).toMatch(/^— witness\.example \S+\n$/);
    expect(good.bodies).toHaveLength(1);
    expect(refused).toEqual(['witness-unreachable']);
    witnesses.close();
  });

  it('TL-63: a witness that knows a larger log or another history stops a log that would start; others do not', async () => {
    const witness = realWitness();
    const later = await log.request(0, 6);
    expect((await witness.addCheckpoint(later)).status).toBe(200);
    const fork = realWitness();
    expect((await fork.addCheckpoint(await new WitnessedLog(ORIGIN, 'other ').request(0, 3))).status).toBe(
      200,
    );
    const confirm = async (
      answer: (body: string) => Answer | Promise<Answer>,
      size: number,
    ): Promise<void> => {
      const { server } = await fakeWitness(answer);
      const policy = `witness a ${formatVerifierKey(signer.key)} ${server.options.address}\nquorum a\n`;
      const { authorityCertificate, timeoutMilliseconds, clock } = server.options;
      const witnesses = new LogWitnesses({
        policy: parseWitnessPolicy(policy, 'policy'),
        authorityCertificate,
        timeoutMilliseconds,
        clock,
      });
      try {
        await witnesses.confirm(await checkpointOf(size), prover(size));
      } finally {
        witnesses.close();
      }
    };
    const ask = (body: string): Promise<Answer> => answerOf(witness, body);
    expect(await refusalCodeAsync(() => confirm(ask, 4))).toBe('log-not-as-witnessed');
    expect(await refusalCodeAsync(() => confirm((body) => answerOf(fork, body), 4))).toBe(
      'log-not-as-witnessed',
    );
    await confirm(ask, 6);
    await confirm(() => [503, ''], 4);
    await confirm(() => [200, 'no cosignature'], 4);
  });
});
