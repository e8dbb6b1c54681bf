/** A year of releases, and what people do with its log on machines that have nothing but the tool and a profile. */

import { execFile, spawnSync } from 'node:child_process';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { PROJECT, runCommand, startCommand, succeed } from '../support/command-line.ts';
import { DAY, START } from '../support/governance.ts';
import { DECISIONS_A_DAY, makeYear, YEAR_DAYS } from '../support/year-log.ts';

let root: string;
let log: string;
let profile: string;
let year: string;

const DECISIONS = (YEAR_DAYS - 31) * DECISIONS_A_DAY;
const at = (name: string): string => join(root, name);
const pinned = (...more: readonly string[]): readonly string[] => ['--profile', profile, ...more];
const iso = (posixSeconds: number): string => `${new Date(posixSeconds * 1000).toISOString().slice(0, 19)}Z`;

beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'weightgate-year-'));
  ({ log, profile } = await makeYear(root));
  year = at('year.jsonl');
  await succeed('audit', 'export', ...pinned('--folder', log, '--out', year));
}, 240_000);

afterAll(async () => {
  await rm(root, { recursive: true, force: true });
});

describe('a machine that has only the tool', () => {
  it('AU-2, AU-10: verifies the export of a year, without a server, a home or a network', async () => {
    const given = at('given');
    await copyFile(year, join(given, 'year.jsonl'));
    // Where this user may make a network of its own, one without a way out.
    const alone = ['unshare', '--map-root-user', '--net'];
    const isolated = spawnSync('unshare', [...alone.slice(1), 'true']).status === 0 ? alone : [];
    const command = [...isolated, join(PROJECT, 'bin', 'weightgate')];
    const args = [
      'audit',
      'verify',
      '--profile',
      'profile.json',
      '--export',
      'year.jsonl',
      '--state',
      'seen.json',
    ];
    const [program = '', ...rest] = [...command, ...args];
    const options = { cwd: given, env: { PATH: process.env['PATH'] ?? '' }, maxBuffer: 1 << 26 };
    const { stdout, stderr } = await promisify(execFile)(program, rest, options);
    const lines = stdout.trimEnd().split('\n');
    expect(stderr).toContain(`verified: ${lines.length} entries of example.org/evaluation (evaluation)`);
    expect(lines.filter((line) => /^ *\d+ {2}\S+ {2}(?:granted|refused) /.test(line))).toHaveLength(
      DECISIONS,
    );
    expect((await readdir(given)).toSorted()).toEqual(['profile.json', 'seen.json', 'year.jsonl']);
  }, 240_000);

  it('AU-14, CL-1: refuses it where one line is gone, and says so', async () => {
    const lines = (await readFile(year, 'utf8')).split('\n');
    await writeFile(at('cut.jsonl'), lines.toSpliced(1000, 1).join('\n'));
    const outcome = await runCommand('audit', ...pinned('--export', at('cut.jsonl')));
    expect(outcome).toMatchObject({ exitCode: 3, output: '' });
    expect(outcome.errors).toContain('expected entry 999, found entry 1000 [export-order]');
  }, 240_000);

  it('AU-16: takes a later export together with the one before it', async () => {
    const lines = (await readFile(year, 'utf8')).split('\n');
    const { header } = JSON.parse(lines[0] ?? '') as { header: { checkpoint: string; last: string } };
    await writeFile(at('checkpoint'), header.checkpoint);
    for (const after of [at('checkpoint'), year]) {
      const args = pinned('--folder', log, '--out', at('nothing.jsonl'), '--after', after);
      const nothing = await runCommand('audit', 'export', ...args);
      expect(nothing).toMatchObject({
        exitCode: 4,
        errors: expect.stringContaining('[export-nothing]') as string,
      });
    }
    expect(await readdir(root)).not.toContain('nothing.jsonl');
  }, 240_000);
});

describe('weightgate audit query', () => {
  const query = (...more: readonly string[]): Promise<string> =>
    succeed('audit', 'query', ...pinned('--export', year, ...more));

  it('AU-20, AU-21: answers from the verified log and says what it is complete over', async () => {
    const [from, until] = [START + 100 * DAY, START + 110 * DAY];
    const range = ['--since', iso(from), '--until', iso(until)];
    const answer = JSON.parse(await query(...range, '--outcome', 'refused', '--json')) as {
      covered: Record<string, string>;
      decisions: Record<string, unknown>[];
    };
    const { header } = JSON.parse((await readFile(year, 'utf8')).split('\n')[0] ?? '') as {
      header: Record<string, string>;
    };
    expect(answer.covered).toMatchObject({
      first: '0',
      last: header['last'],
      checkpoint: header['checkpoint'],
      origin: 'example.org/evaluation',
    });
    const root64 = (header['checkpoint'] ?? '').split('\n')[2] ?? '';
    expect(answer.covered['root']).toBe(Buffer.from(root64, 'base64').toString('hex'));
    expect(answer.decisions).toHaveLength(Math.ceil((10 * DECISIONS_A_DAY) / 9));
    for (const row of answer.decisions) {
      expect(row).toMatchObject({
        outcome: 'refused',
        model: 'tern',
        version: '1.0',
        codes: ['policy-refused'],
      });
      expect(row['at']).toMatch(/^2027-04-2|^2027-04-3|^2027-05-0/);
    }
  }, 240_000);

  it('AU-21, AU-22: filters add up, and a table runs nothing', async () => {
    const table = await query(
      '--model',
      'tern',
      '--lab',
      'lab-one',
      '--phase',
      'research',
      '--code',
      'policy-refused',
      '--csv',
    );
    const [head = '', ...rows] = table.split('\r\n');
    expect(head).toContain('"index","at","outcome","lab","model"');
    expect(rows).toHaveLength(Math.floor(DECISIONS / 9));
    for (const row of rows) {
      expect(row).toContain(`"'=leisure()"`);
      expect(row).not.toMatch(/"[=+\-@]/);
    }
    expect(await query('--lab', 'lab-two')).toBe('');
    const lastDays = (await query('--device-class', 'tpm', '--since', '2028-01-10')).split('\n');
    // Less four refusals, of which no device is known.
    expect(lastDays).toHaveLength(5 * DECISIONS_A_DAY - 4);
  }, 240_000);

  it('CL-5: refuses what is no time and no phase', async () => {
    for (const wrong of [
      ['--since', '2027-02-30'],
      ['--until', 'yesterday'],
      ['--phase', 'beta'],
      ['--csv', '--json'],
    ]) {
      expect(await runCommand('audit', 'query', ...pinned('--export', year, ...wrong))).toMatchObject({
        exitCode: 2,
      });
    }
  }, 240_000);
});

describe('weightgate monitor', () => {
  let server: Server;
  const mirror = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}/kept/log`;

  beforeAll(async () => {
    // The copy of a first monitor, served as static files, is a mirror for the next one.
    server = createServer((request, response) => {
      const path = /^\/kept\/log\/((?:[\w.]+\/?)+)$/.exec(request.url ?? '')?.[1];
      readFile(join(at('copy'), path ?? 'none')).then(
        (bytes) => response.end(bytes),
        () => response.writeHead(404).end(),
      );
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
  });

  afterAll(() => {
    server.close();
  });

  it('AU-42, AU-43: says what it has found a line each, and ends with 1', async () => {
    const watch = ['--state', at('copy'), '--witness-policy', 'none', '--watch-lab', 'lab-one'];
    const { exitCode, output, errors } = await runCommand('monitor', ...pinned('--folder', log, ...watch));
    expect(errors).toContain('[monitor-alarm]');
    expect(exitCode).toBe(1);
    const alarms = output
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    const counts = Object.groupBy(alarms, ({ alarm }) => String(alarm));
    expect(counts['watched-release']).toHaveLength(DECISIONS - Math.floor(DECISIONS / 9));
    // What the first month set up, four policies, six holds and their ends.
    expect(counts['rules-changed']).toHaveLength(4 + 4 + 2 * 6);
    // The year is simulated, and lies ahead.
    expect(Object.keys(counts).toSorted()).toEqual([
      'clock',
      'rules-changed',
      'server-changed',
      'watched-release',
    ]);
    expect(
      alarms.every(({ origin, seenAt }) => origin === 'example.org/evaluation' && typeof seenAt === 'string'),
    ).toBe(true);
  }, 240_000);

  it('AU-43, CL-2: looks again and again until it is interrupted', async () => {
    const args = pinned('--folder', log, '--state', at('copy'), '--witness-policy', 'none', '--every', '1');
    const { child, outcome } = startCommand(['monitor', ...args]);
    for (let looks = 0; looks < 2; looks += 1) await once(child.stdout!, 'data');
    child.kill('SIGINT');
    const { exitCode, output } = await outcome;
    expect(exitCode).toBe(130);
    const alarms = output.trimEnd().split('\n');
    expect(alarms.length).toBeGreaterThanOrEqual(2);
    // Nothing is new; what stands still wrong is said each time.
    expect(alarms.every((line) => line.includes('"alarm":"clock"'))).toBe(true);
  }, 240_000);

  it('AU-2: reads a mirror over plain HTTP, and calls what it lacks unreachable', async () => {
    const audit = await runCommand('audit', 'verify', ...pinned('--url', mirror()));
    expect(audit).toMatchObject({ exitCode: 0, errors: expect.stringContaining('verified: ') as string });
    const missing = await runCommand('audit', ...pinned('--url', `${mirror()}/elsewhere`));
    expect(missing).toMatchObject({
      exitCode: 4,
      errors: expect.stringContaining('[log-incomplete]') as string,
    });
    await mkdir(at('other'));
    const args = pinned('--url', `${mirror()}/elsewhere`, '--state', at('other'), '--witness-policy', 'none');
    const { exitCode, output } = await runCommand('monitor', ...args);
    expect(exitCode).toBe(1);
    expect(JSON.parse(output)).toMatchObject({ alarm: 'unreachable', code: 'log-incomplete' });
  }, 240_000);
});
