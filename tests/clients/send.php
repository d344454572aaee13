<?php
// Sends one message of each kind with PHPMailer, each kind as applications ask for it. Usage: php send.php HOST PORT
require '/usr/share/php/libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\PHPMailer;

function message(string $host, string $port, string $subject): PHPMailer
{
    $mail = new PHPMailer(true);
    $mail->isSMTP();
    $mail->Host = $host;
    $mail->Port = (int) $port;
    $mail->CharSet = PHPMailer::CHARSET_UTF8;
    $mail->setFrom('ann@client.test', 'Ann');
    $mail->addAddress('bob@upstream.test', 'Bob');
    $mail->Subject = $subject;
    $mail->Body = "Hello Bob,\n\nthe order is on its way.\n";
    return $mail;
}

[, $host, $port] = $argv;
message($host, $port, 'plain')->send();

message($host, $port, 'Grüße und ✓')->send();

$mail = message($host, $port, 'eight bits');
$mail->Encoding = PHPMailer::ENCODING_8BIT;
$mail->Body = "Grüße aus Köln,\n用户\n";
$mail->send();

$mail = message($host, $port, 'attachment');
$mail->addStringAttachment(implode('', array_map('chr', range(0, 255))), 'Übersicht.bin');
$mail->isHTML();
$mail->Body = '<p>Grüße</p>';
$mail->AltBody = 'Grüße';
$mail->send();

$mail = message($host, $port, 'several');
$mail->addAddress('eve@upstream.test');
$mail->addCC('carol@upstream.test', 'Carol, C.');
$mail->addBCC('dave@upstream.test');
$mail->send();

$mail = message($host, $port, 'dots');
$mail->Body = ".\n..\n.a line that begins with a dot\nend\n.\n";
$mail->send();
