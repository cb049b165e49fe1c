import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../../support/process.js';
import { missingNote, missingPrograms } from '../../support/programs.js';
import { makeTempDir, removeTempDir } from '../../support/temp.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
/** Where the container has the checkout, and what the steps say: its own /tmp, and homes, no unit sees. */
const [THERE, SAID] = ['/opt/gatepath', '/opt/said'];
const BOOT_MS = 300_000;
const missing = missingPrograms('systemd-nspawn', 'unshare', 'nbdinfo');
const isPossible = missing.length === 0 && process.getuid?.() === 0;

/** As docs/operations.md says it, but for the package: the container sees the checkout. */
const INSTALL = `
printf '#!/bin/sh\\nexec ${process.execPath} ${THERE}/dist/bundle/gatepath.js "$@"\\n' > /usr/local/bin/gatepath; chmod +x /usr/local/bin/gatepath
cp ${THERE}/systemd/gatepath.sysusers.conf /usr/lib/sysusers.d/gatepath.conf; systemd-sysusers
cp ${THERE}/systemd/gatepath-*.service /etc/systemd/system/; systemctl daemon-reload
mkdir -p /etc/gatepath
gatepath config example stargate | sed 's/^oplog: .*/oplog: 512M/' > /etc/gatepath/stargate.yaml
gatepath config example datapath > /etc/gatepath/datapath.yaml
stargate() { systemctl show gatepath-stargate --property="$1" --value; }
datapath() { systemctl show gatepath-datapath --property="$1" --value; }
nbd() { nbdinfo --size 'nbd+unix:///demo?socket=/run/gatepath/nbd.sock'; }
until_is() { for i in $(seq 300); do [ "$($1 $2)" = "$3" ] && return; sleep 0.1; done; echo "$1 $2: $($1 $2)"; }
`;

/** What is done in there, one after the other; each step's output is its own. */
const STEPS = {
  start:
    'systemctl start gatepath-stargate gatepath-datapath; stargate ActiveState; stargate StatusText; datapath ActiveState; datapath StatusText',
  serve: 'gatepath vdisk create demo 64M --data /var/lib/gatepath; gatepath attach demo --data /var/lib/gatepath > /dev/null; nbd',
  user: 'stargate User; stat --format %U:%a /var/lib/gatepath/stargate /run/gatepath/nbd.sock',
  journal: 'journalctl --unit gatepath-stargate --priority info --grep serving --output cat | grep -c \'"msg":"serving"\'',
  reload: `echo 'scrubb: 1' >> /etc/gatepath/stargate.yaml; systemctl reload gatepath-stargate; sleep 1; stargate StatusText
    sed -i /scrubb/d /etc/gatepath/stargate.yaml; systemctl reload gatepath-stargate; sleep 1; stargate StatusText`,
  replace: `before=$(datapath MainPID); systemctl kill --kill-whom=main --signal=USR2 gatepath-datapath
    for i in $(seq 300); do [ "$(datapath MainPID)" != "$before" ] && break; sleep 0.1; done
    sleep 1; [ "$(datapath MainPID)" != "$before" ] && echo another; datapath ActiveState; datapath NRestarts; nbd`,
  killed: `systemctl kill --signal=KILL gatepath-stargate; until_is stargate NRestarts 1; until_is stargate ActiveState active; nbd`,
  hung: `mkdir -p /etc/systemd/system/gatepath-stargate.service.d
    printf '[Service]\\nWatchdogSec=3\\nWatchdogSignal=KILL\\n' > /etc/systemd/system/gatepath-stargate.service.d/watchdog.conf
    systemctl daemon-reload; systemctl restart gatepath-stargate; sleep 5; stargate NRestarts
    systemctl kill --kill-whom=main --signal=STOP gatepath-stargate; until_is stargate NRestarts 1; until_is stargate ActiveState active
    journalctl --unit gatepath-stargate --output cat | grep -c 'Watchdog timeout'; nbd`,
  wrong: `echo 'cashe: 1G' >> /etc/gatepath/stargate.yaml; systemctl restart gatepath-stargate 2>/dev/null; sleep 3
    stargate ActiveState; stargate ExecMainStatus; stargate NRestarts; sed -i /cashe/d /etc/gatepath/stargate.yaml`,
  stop: 'systemctl start gatepath-stargate; systemctl stop gatepath-datapath gatepath-stargate; stargate Result; datapath Result; gatepath verify /var/lib/gatepath > /dev/null; echo $?',
} as const;

describe.skipIf(!isPossible)(`the units, under a systemd of their own${missingNote(missing)}`, () => {
  const dir = makeTempDir('systemd');
  const system = join(dir, 'system');
  const said = join(dir, 'said');
  afterAll(() => removeTempDir(dir));

  // A container that boots from this machine's own root, and writes into memory.
  beforeAll(async () => {
    for (const path of [said, join(dir, 'memory'), system]) mkdirSync(path);
    const script = ['#!/bin/bash', INSTALL, ...Object.entries(STEPS).map(([name, text]) => `{ ${text}\n} > ${SAID}/${name} 2>&1`)];
    writeFileSync(join(said, 'steps.sh'), script.join('\n'), { mode: 0o755 });
    const unit = `[Unit]\nRequires=basic.target\nAfter=basic.target\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=${SAID}/steps.sh\nExecStopPost=systemctl poweroff --no-block\n`;
    writeFileSync(join(said, 'steps.service'), unit);
    // Nobody brings the network up in there.
    symlinkSync('/dev/null', join(said, 'network-online.target'));
    const hierarchy = existsSync('/sys/fs/cgroup/cgroup.controllers') ? '' : 'systemd.unified_cgroup_hierarchy=0';
    const boot = `
      mount -t tmpfs none ${dir}/memory -o size=3G && mkdir ${dir}/memory/upper ${dir}/memory/work &&
      mount -t overlay overlay ${system} -o lowerdir=/,upperdir=${dir}/memory/upper,workdir=${dir}/memory/work &&
      rm -f ${system}/etc/machine-id && cp --no-dereference ${said}/steps.service ${said}/network-online.target ${system}/etc/systemd/system/ &&
      exec systemd-nspawn --directory=${system} --bind-ro=${ROOT}:${THERE} --bind=${said}:${SAID} --private-network --register=no --keep-unit \\
        --boot ${hierarchy} systemd.unit=steps.service`;
    const { stdout, stderr } = await run(['unshare', '--mount', 'sh', '-c', boot], { timeoutMs: BOOT_MS });
    if (!existsSync(join(said, 'stop'))) throw new Error(`the container has not come to its last step:\n${stdout}\n${stderr}`);
  }, BOOT_MS);

  const linesOf = (step: keyof typeof STEPS): string[] => readFileSync(join(said, step), 'utf8').trimEnd().split('\n');
  const SIZE = String(64 << 20);

  it('start both, and are ready when they serve', () => {
    const stargate = 'serving node-1 at /run/gatepath/stargate.sock';
    expect(linesOf('start')).toEqual(['active', stargate, 'active', 'serving NBD at /run/gatepath/nbd.sock']);
    expect(linesOf('serve').at(-1)).toBe(SIZE);
    expect(linesOf('user')).toEqual(['gatepath', 'gatepath:700', 'gatepath:660']);
    expect(linesOf('journal')).toEqual(['1']);
  });

  it('reload: the status line says what is wrong with the file', () => {
    expect(linesOf('reload')).toEqual([expect.stringContaining('scrubb'), 'serving node-1 at /run/gatepath/stargate.sock']);
  });

  it('SIGUSR2 to the datapath: another main process, and no restart', () => {
    expect(linesOf('replace')).toEqual(['another', 'active', '0', SIZE]);
  });

  it('one that is killed, or hangs, is started again', () => {
    expect(linesOf('killed')).toEqual([SIZE]);
    expect(linesOf('hung')).toEqual(['0', '1', SIZE]);
  });

  it('a wrong configuration fails the unit, with status 78, and it is not started again', () => {
    expect(linesOf('wrong')).toEqual(['failed', '78', '0']);
  });

  it('stop: both end well, and leave the data in order', () => {
    expect(linesOf('stop')).toEqual(['success', 'success', '0']);
  });
});
