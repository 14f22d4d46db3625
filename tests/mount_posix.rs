//! What POSIX and Linux promise, on a mounted volume.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use support::{World, in_every_setup};

/// Names that the scripts share.
const PRELUDE: &str = r#"
import os, errno, mmap, fcntl, struct, ctypes, threading, stat, time
libc = ctypes.CDLL(None, use_errno=True)
def fails(number, call, *args, **kw):
    try: call(*args, **kw)
    except OSError as e: assert e.errno == number, (errno.errorcode[e.errno], errno.errorcode[number]); return
    assert False, 'succeeded'
def renameat2(a, b, flags):
    if libc.renameat2(-100, os.fsencode(a), -100, os.fsencode(b), flags) != 0:
        e = ctypes.get_errno(); raise OSError(e, os.strerror(e))
def fallocate(fd, mode, offset, length):
    if libc.fallocate(fd, mode, ctypes.c_long(offset), ctypes.c_long(length)) != 0:
        e = ctypes.get_errno(); raise OSError(e, os.strerror(e))
def put(name, data):
    with open(name, 'wb') as f: f.write(data)
def get(name):
    with open(name, 'rb') as f: return f.read()
"#;

fn check(script: &str) {
    in_every_setup(|world: &mut World| world.python(&format!("{PRELUDE}{script}")));
}

#[test]
fn state_belongs_to_the_inode_also_when_it_has_no_name() {
    check(
        r#"
put('a', b'1' * 10000)
fd = os.open('a', os.O_RDWR)
other = os.open('a', os.O_RDWR)
os.unlink('a')
assert os.fstat(fd).st_nlink == 0
os.pwrite(fd, b'hello', 20000); assert os.fstat(other).st_size == 20005
assert os.pread(other, 5, 20000) == b'hello'
os.fchmod(fd, 0o604); os.fchown(fd, 77, 88); os.utime(fd, ns=(10**18 + 1, 10**18 + 2))
os.setxattr(fd, 'user.x', b'v'); assert os.getxattr(other, 'user.x') == b'v'
st = os.fstat(other)
assert (st.st_mode & 0o7777, st.st_uid, st.st_gid, st.st_mtime_ns) == (0o604, 77, 88, 10**18 + 2), st
os.ftruncate(fd, 3); os.fsync(fd); assert os.fstat(other).st_size == 3
os.close(fd); assert os.pread(other, 10, 0) == b'111'; os.close(other)
assert os.listdir('.') == []

put('old', b'old'); put('new', b'new')
fd = os.open('old', os.O_RDWR)
os.rename('new', 'old')
os.write(fd, b'OLD'); os.fsync(fd); os.ftruncate(fd, 2)
assert os.pread(fd, 10, 0) == b'OL' and get('old') == b'new'
os.close(fd)
"#,
    );
}

#[test]
fn any_mode_works_at_creation_and_later() {
    check(
        r#"
os.umask(0)
for mode in (0, 0o200, 0o400, 0o077, 0o7777, 0o111):
    name = 'f%o' % mode
    fd = os.open(name, os.O_CREAT | os.O_RDWR | os.O_EXCL, mode)
    os.write(fd, b'x' * 5000); os.close(fd)
    assert os.stat(name).st_mode & 0o7777 == mode, oct(os.stat(name).st_mode)
    assert get(name) == b'x' * 5000
    os.mkdir('d%o' % mode, mode & 0o1777)
    assert os.stat('d%o' % mode).st_mode & 0o7777 == mode & 0o1777
os.chmod('f0', 0o7654); assert os.stat('f0').st_mode & 0o7777 == 0o7654
os.umask(0o027)
fd = os.open('masked', os.O_CREAT | os.O_RDWR, 0o666); os.close(fd)
assert os.stat('masked').st_mode & 0o7777 == 0o640
"#,
    );
}

#[test]
fn owners_come_from_the_caller_and_from_setgid_directories() {
    check(
        r#"
os.umask(0)
os.mkdir('d', 0o777); os.chown('d', 5, 6); os.chmod('d', 0o2777)
os.chmod('.', 0o777)
def as_user(uid, gid, groups, work):
    pid = os.fork()
    if pid == 0:
        try: os.setgroups(groups); os.setresgid(gid, gid, gid); os.setresuid(uid, uid, uid); work(); os._exit(0)
        except BaseException as e: print(e, flush=True); os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0
def make():
    put('mine', b''); put('d/theirs', b''); os.mkdir('d/sub', 0o755); os.symlink('x', 'link'); os.mkfifo('pipe')
    for n in ('mine', 'link', 'pipe'):
        st = os.lstat(n); assert (st.st_uid, st.st_gid) == (1001, 1002), (n, st)
    for n in ('d/theirs', 'd/sub'):
        st = os.lstat(n); assert (st.st_uid, st.st_gid) == (1001, 6), (n, st)
    assert os.stat('d/sub').st_mode & 0o7777 == 0o2755
    fails(errno.EPERM, os.chown, 'mine', 0, -1)
    fails(errno.EPERM, os.chmod, 'd', 0o700)
    os.chown('mine', -1, 4242)
as_user(1001, 1002, [4242], make)
def refused():
    fails(errno.EACCES, open, 'mine', 'r+b'); fails(errno.EACCES, os.listdir, 'private')
    assert get('shared') == b'ok'
os.chmod('mine', 0o600)
os.mkdir('private', 0o700); put('shared', b'ok'); os.chown('shared', 0, 4242); os.chmod('shared', 0o640)
as_user(1003, 1003, [4242], refused)
# A write by somebody without privileges clears the set-id bits.
put('suid', b'data'); os.chmod('suid', 0o6777)
as_user(1003, 1003, [], lambda: put('suid', b'more'))
assert os.stat('suid').st_mode & 0o7777 == 0o777, oct(os.stat('suid').st_mode)
os.chmod('suid', 0o6777)
def write_some():
    fd = os.open('suid', os.O_WRONLY); os.write(fd, b'z'); os.close(fd)
as_user(1003, 1003, [], write_some)
assert os.stat('suid').st_mode & 0o7777 == 0o777, oct(os.stat('suid').st_mode)
os.chmod('suid', 0o6777); as_user(1003, 1003, [], lambda: os.truncate('suid', 1))
assert os.stat('suid').st_mode & 0o7777 == 0o777
"#,
    );
}

#[test]
fn renames_and_links() {
    check(
        r#"
NOREPLACE, EXCHANGE = 1, 2
long = ['L' * 255, 'M' * 200]
for a, b in (('a', 'b'), (long[0], 'b'), ('a', long[0]), tuple(long)):
    put(a, b'A'); put(b, b'B')
    fails(errno.EEXIST, renameat2, a, b, NOREPLACE)
    renameat2(a, b, EXCHANGE); assert get(a) == b'B' and get(b) == b'A'
    os.rename(a, b); assert get(b) == b'B' and not os.path.exists(a)
    renameat2(b, a, NOREPLACE); assert os.listdir('.') == [a]
    os.link(a, b); assert os.stat(b).st_nlink == 2 and os.stat(a).st_ino == os.stat(b).st_ino
    os.unlink(a); assert os.stat(b).st_nlink == 1; os.unlink(b)
    assert os.listdir('.') == []
os.makedirs('one/in'); os.mkdir('two'); put('one/in/f', b'f')
fails(errno.ENOTEMPTY, os.rename, 'two', 'one')
os.rename('one', 'two'); assert get('two/in/f') == b'f' and os.listdir('.') == ['two']
os.makedirs('x/y'); renameat2('x/y', 'two', EXCHANGE); assert get('x/y/in/f') == b'f' and os.listdir('two') == []
fails(errno.ENOTEMPTY, os.rmdir, 'x')
fails(errno.EINVAL, os.rename, 'x', 'x/y/z')
put('file', b'')
fails(errno.EISDIR, os.rename, 'file', 'two'); fails(errno.ENOTDIR, os.rename, 'two', 'file')
os.rename('two', 'x/two'); os.rmdir('x/two'); os.rename('x/y/in/f', 'f'); assert get('f') == b'f'
fails(errno.ENAMETOOLONG, open, 'n' * 256, 'w')
"#,
    );
}

#[test]
fn symbolic_links_of_every_length() {
    check(
        r#"
for n in (1, 2, 3, 100, 1000, 3000, 3045, 3046, 3500, 4095):
    target = ('t' * n)
    os.symlink(target, 'l%d' % n)
    assert os.readlink('l%d' % n) == target and os.lstat('l%d' % n).st_size == n, n
os.rename('l4095', 'moved'); assert os.readlink('moved') == 't' * 4095
os.link('moved', 'again', follow_symlinks=False); os.unlink('moved'); assert os.readlink('again') == 't' * 4095
os.symlink('t' * 4000, 'victim'); os.rename('again', 'victim'); assert os.readlink('victim') == 't' * 4095
fails(errno.EINVAL, os.readlink, '.')
for name in os.listdir('.'): os.unlink(name)
"#,
    );
    let mut world = World::new(support::Setup::default());
    world.python("import os\nos.symlink('x' * 4000, 'l'); os.unlink('l')");
    world.unmount();
    let kept = std::fs::read_dir(world.backing.join(".kmsfs/targets")).unwrap().count();
    assert_eq!(kept, 0, "the kept target goes with the last name");
}

#[test]
fn holes_allocation_and_copies() {
    check(
        r#"
KEEP, PUNCH, ZERO = 1, 2, 16
fd = os.open('s', os.O_CREAT | os.O_RDWR)
os.ftruncate(fd, 4 << 40); assert os.fstat(fd).st_size == 4 << 40
os.pwrite(fd, b'tera', 3 << 40); assert os.pread(fd, 6, (3 << 40) - 1) == b'\0tera\0'
assert os.fstat(fd).st_blocks < 4096
os.ftruncate(fd, 1 << 20)
os.pwrite(fd, b'd' * 65536, 262144); os.fsync(fd)
found = os.lseek(fd, 0, os.SEEK_DATA); assert found in (0, 262144), found
hole = os.lseek(fd, 262144, os.SEEK_HOLE); assert hole in (262144 + 65536, 1 << 20), hole
fails(errno.ENXIO, os.lseek, fd, 1 << 20, os.SEEK_DATA)
fallocate(fd, PUNCH | KEEP, 262144 + 100, 8192)
expect = b'd' * 100 + b'\0' * 8192 + b'd' * (65536 - 8292)
assert os.pread(fd, 65536, 262144) == expect
fallocate(fd, 0, 1 << 20, 4096); assert os.fstat(fd).st_size == (1 << 20) + 4096
fallocate(fd, KEEP, 2 << 20, 4096); assert os.fstat(fd).st_size == (1 << 20) + 4096
fallocate(fd, ZERO, 262144, 10); assert os.pread(fd, 12, 262144) == b'\0' * 10 + b'dd'
fails(errno.EOPNOTSUPP, fallocate, fd, 8, 0, 4096)
out = os.open('c', os.O_CREAT | os.O_RDWR)
done = 0
while done < 1 << 20:
    n = os.copy_file_range(fd, out, (1 << 20) - done, done, done); assert n > 0; done += n
assert os.pread(out, 1 << 20, 0) == os.pread(fd, 1 << 20, 0)
assert os.fstat(out).st_size == 1 << 20
os.ftruncate(fd, 5); os.ftruncate(fd, 5000); assert os.pread(fd, 6000, 0) == b'\0' * 5000
"#,
    );
}

#[test]
fn mappings_appends_and_locks() {
    check(
        r#"
put('m', b'a' * 10000)
fd = os.open('m', os.O_RDWR)
shared = mmap.mmap(fd, 10000); private = mmap.mmap(fd, 10000, flags=mmap.MAP_PRIVATE)
private[0:3] = b'xyz'; assert os.pread(fd, 3, 0) == b'aaa'
shared[5000:5003] = b'bcd'; shared.flush(); assert get('m')[5000:5003] == b'bcd'
os.pwrite(fd, b'Q', 9999); assert shared[9999:10000] == b'Q'
shared.close(); private.close()

def append(c):
    f = os.open('log', os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    for i in range(200): os.write(f, c * 37)
    os.close(f)
threads = [threading.Thread(target=append, args=(bytes([65 + i]),)) for i in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
log = get('log'); assert len(log) == 4 * 200 * 37
assert all(len(set(log[i:i + 37])) == 1 for i in range(0, len(log), 37))

a = os.open('m', os.O_RDWR); b = os.open('m', os.O_RDWR)
fcntl.flock(a, fcntl.LOCK_EX); fails(errno.EAGAIN, fcntl.flock, b, fcntl.LOCK_EX | fcntl.LOCK_NB); fcntl.flock(a, fcntl.LOCK_UN)
fcntl.lockf(a, fcntl.LOCK_EX, 10, 0)
pid = os.fork()
if pid == 0:
    try: fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 5); os._exit(1)
    except OSError: pass
    try: fcntl.lockf(b, fcntl.LOCK_EX | fcntl.LOCK_NB, 10, 10); os._exit(0)
    except OSError: os._exit(2)
assert os.waitpid(pid, 0)[1] == 0
"#,
    );
}

#[test]
fn listings_stay_valid_while_entries_come_and_go() {
    check(
        r#"
os.mkdir('d')
for i in range(2000): put('d/%04d' % i, b'')
seen = []
with os.scandir('d') as it:
    for n, e in enumerate(it):
        seen.append(e.name)
        if n % 3 == 0: os.unlink('d/' + e.name)
        if n < 500: put('d/new%d' % n, b'')
old = [s for s in seen if not s.startswith('new')]
assert len(old) == len(set(old)) == 2000, (len(old), len(set(old)))
names = os.listdir('d'); assert len(names) == len(set(names)) == 2500 - (len(seen) + 2) // 3

# Offsets from telldir come back to the same place.
libc.opendir.restype = ctypes.c_void_p; libc.telldir.restype = ctypes.c_long
libc.readdir.restype = ctypes.c_void_p
d = ctypes.c_void_p(libc.opendir(b'd'))
def read():
    p = libc.readdir(d)
    return ctypes.string_at(p + 19) if p else None
first = [read() for _ in range(700)]; at = ctypes.c_long(libc.telldir(d)); assert at.value > 0
rest = []
while (n := read()) is not None: rest.append(n)
libc.seekdir(d, at); again = []
while (n := read()) is not None: again.append(n)
assert rest == again and {b'.', b'..'} <= set(first + rest)
for n in os.listdir('d'): os.unlink('d/' + n)
os.rmdir('d')
"#,
    );
}

#[test]
fn extended_attributes_and_acls() {
    check(
        r#"
import subprocess
CREATE, REPLACE = os.XATTR_CREATE, os.XATTR_REPLACE
put('f', b'x'); os.mkdir('d'); os.mkfifo('p')
for n in ('f', 'd'):
    fails(errno.ENODATA, os.getxattr, n, 'user.a'); fails(errno.ENODATA, os.setxattr, n, 'user.a', b'', REPLACE)
    os.setxattr(n, 'user.a', b'one', CREATE); fails(errno.EEXIST, os.setxattr, n, 'user.a', b'', CREATE)
    os.setxattr(n, 'user.a', b'', REPLACE); assert os.getxattr(n, 'user.a') == b''
    os.setxattr(n, 'user.' + 'b' * 150, bytes(range(256)) * 4)
    assert os.getxattr(n, 'user.' + 'b' * 150) == bytes(range(256)) * 4
    assert sorted(os.listxattr(n)) == ['user.a', 'user.' + 'b' * 150]
    os.removexattr(n, 'user.a'); fails(errno.ENODATA, os.removexattr, n, 'user.a')
    fails(errno.ERANGE, os.setxattr, n, 'user.' + 'c' * 250, b'')
fails(errno.EOPNOTSUPP, os.setxattr, 'f', 'other.x', b'')
fails(errno.EPERM, os.setxattr, 'p', 'user.x', b'')
os.setxattr('p', 'trusted.x', b'1'); assert os.getxattr('p', 'trusted.x') == b'1'
# An empty file that was made by mknod has no header yet; its times stay when it is given one.
os.mknod('raw', 0o644 | stat.S_IFREG); os.utime('raw', ns=(5, 6)); os.setxattr('raw', 'user.q', b'1')
assert os.stat('raw').st_mtime_ns == 6 and os.stat('raw').st_size == 0
def run(*a): return subprocess.run(a, check=True, capture_output=True, text=True).stdout
run('setfacl', '-d', '-m', 'u:1234:rwx,g::r-x,o::---,m::rwx', 'd')
os.umask(0o077); put('d/inherits', b''); os.mkdir('d/sub')
acl = run('getfacl', '-n', '-c', 'd/inherits')
assert 'user:1234:rwx' in acl and 'mask::rw-' in acl, acl
assert 'default:user:1234:rwx' in run('getfacl', '-n', '-c', 'd/sub')
run('setfacl', '-b', '-k', 'd'); put('d/plain', b'')
assert os.stat('d/plain').st_mode & 0o777 == 0o600
run('setfacl', '-m', 'u:1234:r', 'f'); os.chmod('f', 0o600); assert 'mask::---' in run('getfacl', '-n', '-c', 'f')
"#,
    );
}

#[test]
fn times_follow_what_happened() {
    check(
        r#"
put('f', b'1'); os.utime('f', ns=(1 * 10**18, 1 * 10**18))
before = os.stat('f'); assert before.st_mtime_ns == 10**18
time.sleep(0.05); get('f'); fd = os.open('f', os.O_RDONLY); os.close(fd)
assert os.stat('f').st_mtime_ns == 10**18
with open('f', 'r+b') as f: f.write(b'2')
written = os.stat('f'); assert time.time_ns() - written.st_mtime_ns < 3 * 10**9 and written.st_ctime_ns > before.st_ctime_ns
# Nothing that the daemon does later shows: the header, the seal, checkpoints.
time.sleep(1.0)
later = os.stat('f'); assert (later.st_mtime_ns, later.st_size) == (written.st_mtime_ns, written.st_size)
os.utime('f', ns=(123456789, 987654321)); time.sleep(0.8)
fd = os.open('f', os.O_RDONLY); os.fsync(fd); os.close(fd)
assert os.stat('f').st_mtime_ns == 987654321
os.mkdir('d'); a = os.stat('d').st_mtime_ns; time.sleep(0.02); put('d/x', b''); assert os.stat('d').st_mtime_ns > a
"#,
    );
    let mut world = World::new(support::Setup::default());
    world.python("import os\nopen('f','wb').write(b'x' * 100000)\nf = open('f','r+b'); f.seek(5); f.write(b'y'); f.close(); os.utime('f', ns=(1, 2))");
    world.remount();
    world.python("import os\nassert os.stat('f').st_mtime_ns == 2, os.stat('f')");
}

#[test]
fn inode_numbers_are_the_same_after_a_remount() {
    in_every_setup(|world: &mut World| {
        world.sh("mkdir d; echo 1 > d/f; ln d/f d/g; ln -s f d/l");
        let before = world.sh("stat -c '%n %i' d d/*; ls -i d");
        world.remount();
        assert_eq!(world.sh("stat -c '%n %i' d d/*; ls -i d"), before);
    });
}
