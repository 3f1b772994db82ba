package Attack;
# What tests of attacks share: code that runs as another user, and requests to the core with lies in them, as whoever owns a child of Apache can
# send them.
use strict;
use warnings;
use Exporter 'import';
use IO::Socket::UNIX;
use MIME::Base64;
use POSIX ();
use Harness ();

our @EXPORT_OK = qw(become);
our @EXPORT = qw(as_user core_socket connected hello message attack user_of);
my ($socket, $n) = (undef, 0);

# For good; root stays what it is.
sub become { my ($uid, $gid) = @_; if ($uid) { $) = "$gid $gid"; $( = $gid; POSIX::setuid($uid) } return }

# Runs code as another user and returns the string that it returns.
sub as_user {
    my ($user, $code) = @_;
    my ($uid, $gid) = (getpwnam $user)[2, 3];
    my $pid = open(my $out, '-|') // die "fork: $!";
    if (!$pid) {
        become($uid, $gid);
        $SIG{PIPE} = 'IGNORE';
        my $text = eval { $code->() } // "died: $@";
        binmode STDOUT;
        syswrite STDOUT, $text;
        POSIX::_exit(0);
    }
    local $/;
    return scalar(<$out>) // '';
}

# The socket for requests; the one that is meant from now on.
sub core_socket { my ($h) = @_; ($socket) = glob "$h->{root}/registry/*/core.sock"; return $socket }
sub connected { my $s = IO::Socket::UNIX->new(Type => SOCK_STREAM, Peer => $socket); binmode $s if $s; $s && $s->autoflush(1); $s }
sub hello {
    my ($generation) = @_;
    my ($id) = Harness::slurp(($ENV{PASSENGER_BUILD} // 'build') . '/build-id') =~ /(\w+)/;
    return "PASSENGER/1 $id " . ($generation // 1) . "\n";
}

# A request as the module would write it, with lies in it. Values of options are strings, or references to what is to be written as it is.
sub message {
    my (%arg) = @_;
    my $str = sub { pack('N', length $_[0]) . $_[0] };
    my %option = (min_instances => undef, %{ $arg{options} // {} });
    my @set = grep { defined $option{$_} } keys %option;
    my $options = pack('NN', 0x4f505401, scalar @set) . join '', map { $str->($_) . (ref $option{$_} ? ${ $option{$_} } : $str->($option{$_})) } @set;
    my $path = $arg{path} // '/';
    my @pairs = (REQUEST_METHOD => 'GET', REQUEST_URI => $path, PATH_INFO => $path, SCRIPT_NAME => '', QUERY_STRING => '', SERVER_NAME => 'x', SERVER_PORT => 80,
        SERVER_PROTOCOL => 'HTTP/1.1', REMOTE_ADDR => '127.0.0.1', HTTP_HOST => 'x');
    my $application = join '', map { "$_\0" } @pairs;
    my $env = join '', map { "$_\0" } %{ $arg{env} // {} };
    my @control = (CONTENT_LENGTH => 0, SCGI => 1, '!g' => $arg{group} // 'attack ' . ++$n, '!r' => $arg{app_root}, '!k' => $arg{kind} // 'python', '!s' => $arg{startup} // 'passenger_wsgi.py',
        '!b' => '', '!d' => $arg{digest} // sprintf('%016x', ++$n + 77));
    push @control, '!o' => encode_base64($options, '') unless $arg{untold};
    push @control, '!a' => $arg{author} if defined $arg{author};
    push @control, '!e' => $arg{env_at} // length $application if length $env || $arg{env_at};
    my $block = join('', map { "$_\0" } @control) . $application . $env;
    return length($block) . ":$block,";
}

# Sends it as Apache's user; everything that comes back within some seconds.
sub attack {
    my (%arg) = @_;
    my $message = hello($arg{generation}) . message(%arg);
    return as_user('www-data', sub {
        my $s = connected() or return 'not connected';
        print $s $message;
        my ($all, $deadline) = ('', time + 8);
        my $bits = '';
        vec($bits, fileno $s, 1) = 1;
        while (time < $deadline && select(my $ready = $bits, undef, undef, 8)) {
            last unless sysread $s, $all, 65536, length $all;
            last if $all =~ /Content-Length: (\d+)\r\n(?:.*?)\r\n\r\n(.*)/s && length $2 >= $1;
        }
        return $all;
    });
}

sub user_of { my ($text) = @_; $text =~ /"uid": (\d+)/ ? scalar getpwuid $1 : 'none' }

1;
